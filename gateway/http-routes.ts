/** The HTTP calls: paths, methods, and what of a request goes into which field. */
import type { HttpRequest, HttpResponse, TemplatedApp } from 'uWebSockets.js';
import {
  OP_ACK,
  OP_ACK_BULK,
  OP_BADGE,
  OP_DELETE,
  OP_DELETE_USER,
  OP_GET,
  OP_LIST,
  OP_MENTION,
  OP_PIN_ACK,
} from '../engine/messages.js';
import type { Auth } from './auth.js';
import { Draft } from './draft.js';
import { type ApiError, invalid, METHOD_NOT_ALLOWED, NOT_FOUND, STOPPING, UNWELL } from './errors.js';
import type { Front } from './front.js';
import { HttpCaller } from './http-answer.js';
import { readJsonBody } from './http-body.js';
import { readUsers } from './user-list.js';

type Body = Record<string, unknown>;
/** Fills the draft from the path's parameters, the query and the body. */
type Fill = (draft: Draft, path: readonly string[], query: string, body: Body) => void;

interface Call {
  readonly method: 'get' | 'post' | 'del';
  readonly path: string;
  readonly op: number;
  readonly fill: Fill;
}

const READ_STATES = '/v1/users/:user/read-states';
const NO_BODY: Body = {};

/** A query parameter as it is written, or undefined. All that have a meaning are digits, so nothing is decoded. */
function queryOf(query: string, name: string): string | undefined {
  if (query === '') return undefined;
  for (const pair of query.split('&')) {
    if (pair === name) return '';
    if (pair.startsWith(name) && pair.charCodeAt(name.length) === 61) return pair.slice(name.length + 1);
  }
  return undefined;
}

const CALLS: readonly Call[] = [
  {
    method: 'get',
    path: READ_STATES,
    op: OP_LIST,
    fill: (draft, path, query) => draft.user(path[0]).since(queryOf(query, 'since')),
  },
  {
    method: 'get',
    path: `${READ_STATES}/:channel`,
    op: OP_GET,
    fill: (draft, path, query) => draft.user(path[0]).channel(path[1]).typeText(queryOf(query, 'type')),
  },
  {
    method: 'post',
    path: `${READ_STATES}/:channel/ack`,
    op: OP_ACK,
    fill: (draft, path, query, body) =>
      draft.user(path[0]).channel(path[1]).typeText(queryOf(query, 'type')).ack(body),
  },
  {
    method: 'post',
    path: `${READ_STATES}/ack-bulk`,
    op: OP_ACK_BULK,
    fill: (draft, path, _query, body) => draft.user(path[0]).bulk(body),
  },
  {
    method: 'post',
    path: `${READ_STATES}/:channel/pins/ack`,
    op: OP_PIN_ACK,
    fill: (draft, path, query, body) =>
      draft.user(path[0]).channel(path[1]).typeText(queryOf(query, 'type')).pin(body),
  },
  {
    method: 'del',
    path: `${READ_STATES}/:channel`,
    op: OP_DELETE,
    fill: (draft, path, query) => draft.user(path[0]).channel(path[1]).typeText(queryOf(query, 'type')),
  },
  {
    method: 'del',
    path: READ_STATES,
    op: OP_DELETE_USER,
    fill: (draft, path) => draft.user(path[0]),
  },
  {
    method: 'get',
    path: '/v1/users/:user/badge',
    op: OP_BADGE,
    fill: (draft, path) => draft.user(path[0]),
  },
  {
    method: 'post',
    path: '/v1/channels/:channel/mentions',
    op: OP_MENTION,
    fill: (draft, path, _query, body) => draft.channel(path[0]).type(body.read_state_type).mention(body),
  },
];

const METHOD_NAMES = { get: 'GET', post: 'POST', del: 'DELETE' } as const;

export interface RouteOptions {
  readonly front: Front;
  readonly auth: Auth;
  /** Everything in Prometheus' text format. */
  readonly metrics: { readonly contentType: string; render(): Promise<string> };
}

/** Adds all paths but the WebSocket's to the app. */
export function addRoutes(app: TemplatedApp, options: RouteOptions): void {
  const { front, auth, metrics } = options;
  const draft = new Draft();
  const methods = new Map<string, string[]>();

  for (const call of CALLS) {
    methods.set(call.path, [...(methods.get(call.path) ?? []), METHOD_NAMES[call.method]]);
    const parameters = call.path.split(':').length - 1;
    app[call.method](call.path, (response, request) => {
      const caller = new HttpCaller(response, call.op, front.counters);
      const refusal = refuse(front, auth, request);
      if (refusal !== null) {
        caller.error(refusal);
        return;
      }
      const path =
        parameters === 2 ? [request.getParameter(0), request.getParameter(1)] : [request.getParameter(0)];
      const query = request.getQuery() ?? '';
      if (call.method !== 'post') {
        start(front, draft, call, path, query, NO_BODY, caller);
        return;
      }
      readJsonBody(front, response, request, front.limits.maxBody, caller, (body) =>
        start(front, draft, call, path, query, body, caller),
      );
    });
  }

  addOpen(app, front, methods, '/healthz', () => true);
  addOpen(app, front, methods, '/readyz', () => !front.draining && front.isWell);
  methods.set('/metrics', ['GET']);
  app.get('/metrics', (response, request) => {
    const caller = new HttpCaller(response, 0, front.counters);
    const refusal = auth.refuse(request);
    if (refusal !== null) {
      caller.error(refusal);
      return;
    }
    metrics.render().then(
      (text) => caller.ok(Buffer.from(text), metrics.contentType),
      (error: unknown) =>
        setImmediate(() => {
          throw error;
        }),
    );
  });

  for (const [path, names] of methods) {
    const allow = { Allow: names.join(', ') };
    app.any(path, (response, request) => callerOf(response, request, front).error(METHOD_NOT_ALLOWED, allow));
  }
  addNotFound(app, front);
}

/** The answer to all paths that were not added before. */
export function addNotFound(app: TemplatedApp, front: Front): void {
  app.any('/*', (response, request) => callerOf(response, request, front).error(NOT_FOUND));
}

/** Of a request whose method may be any, also HEAD. */
function callerOf(response: HttpResponse, request: HttpRequest, front: Front): HttpCaller {
  return new HttpCaller(response, 0, front.counters, request.getMethod() === 'head');
}

function refuse(front: Front, auth: Auth, request: HttpRequest): ApiError | null {
  return auth.refuse(request) ?? (front.stopping ? STOPPING : null);
}

function start(
  front: Front,
  draft: Draft,
  call: Call,
  path: readonly string[],
  query: string,
  body: Body,
  caller: HttpCaller,
): void {
  if (front.stopping) {
    caller.error(STOPPING); // since its headers came
    return;
  }
  call.fill(draft.begin(call.op), path, query, body);
  const users = call.op === OP_MENTION ? readUsers(body.user_ids, draft.problems) : null;
  if (draft.problems.length > 0) caller.error(invalid(draft.problems));
  else if (users === null) front.run(draft, caller);
  else front.mention(draft, users, caller);
}

/** A path that needs no token. */
function addOpen(
  app: TemplatedApp,
  front: Front,
  methods: Map<string, string[]>,
  path: string,
  good: () => boolean,
): void {
  methods.set(path, ['GET']);
  app.get(path, (response: HttpResponse) => {
    const caller = new HttpCaller(response, 0, front.counters);
    if (good()) caller.ok(Buffer.from('{"status":"ok"}'));
    else caller.error(front.draining ? STOPPING : UNWELL);
  });
}
