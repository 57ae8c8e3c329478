/**
 * `/console`: the operator's page, and the few files that it needs, all from this process. The files hold nothing of
 * the service, so they are given to everyone who may connect; the page itself, like the figures, to whom the admin gate admits.
 * A browser that comes without a token gets the same page with 401: it asks for the token, and keeps it for its tab.
 */

import type { TemplatedApp } from 'uWebSockets.js';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { NOT_FOUND } from '../errors.js';
import type { Front } from '../front.js';
import { HttpCaller } from '../http-answer.js';
import { type AdminGate, addMethodNotAllowed } from './admin-routes.js';

const PAGE = '/console';

const TYPES = {
  html: 'text/html; charset=utf-8',
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  svg: 'image/svg+xml',
} as const;

/** No script, style, picture or call but the server's own, no frame around it, no form to elsewhere. */
const HEADERS = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cache-Control': 'no-cache',
};

/** The page's own files lie beside their sources, its modules where the compiler puts them. */
const SOURCE = new URL('../../../gateway/console/', import.meta.url);
const COMPILED = new URL('../', import.meta.url);
const MODULES = [
  'admin/format',
  'admin/status-figures',
  'admin/status-types',
  'console/admin-api',
  'console/charts',
  'console/console',
  'console/dom',
  'console/figures',
  'console/partition-map',
];

interface Asset {
  readonly path: string;
  readonly type: keyof typeof TYPES;
  readonly file: () => string | URL;
}

function assets(): Asset[] {
  const { resolve } = createRequire(import.meta.url);
  return [
    { path: '/console/theme.css', type: 'css', file: () => new URL('theme.css', SOURCE) },
    { path: '/console/console.css', type: 'css', file: () => new URL('console.css', SOURCE) },
    { path: '/console/icon.svg', type: 'svg', file: () => new URL('icon.svg', SOURCE) },
    { path: '/console/uplot.css', type: 'css', file: () => resolve('uplot/dist/uPlot.min.css') },
    { path: '/console/uplot.js', type: 'js', file: () => resolve('uplot/dist/uPlot.iife.min.js') },
    ...MODULES.map(
      (name): Asset => ({
        path: `/console/app/${name}.js`,
        type: 'js',
        file: () => new URL(`${name}.js`, COMPILED),
      }),
    ),
  ];
}

/** The content of a file, read when it is first asked for; null when it is not there. */
function cached(file: () => string | URL): () => Buffer | null {
  let content: Buffer | null | undefined;
  return () => {
    if (content !== undefined) return content;
    try {
      content = readFileSync(file());
    } catch {
      content = null;
    }
    return content;
  };
}

export function addConsole(app: TemplatedApp, gate: AdminGate, front: Front): void {
  const page = cached(() => new URL('index.html', SOURCE));
  app.get(PAGE, (response, request) => {
    const caller = new HttpCaller(response, 0, front.counters);
    const refusal = gate.refuse(request);
    const body = page();
    if (body === null || (refusal !== null && refusal.status !== 401)) {
      caller.error(refusal ?? NOT_FOUND);
      return;
    }
    const [status, line] = refusal === null ? [200, '200 OK'] : [401, refusal.statusLine];
    caller.answer(status, line, { ...HEADERS, 'Content-Type': TYPES.html }, body);
  });
  addMethodNotAllowed(app, front, PAGE, 'get');
  for (const { path, type, file } of assets()) {
    const content = cached(file);
    app.get(path, (response) => {
      const caller = new HttpCaller(response, 0, front.counters);
      const body = content();
      if (body === null) caller.error(NOT_FOUND);
      else caller.answer(200, '200 OK', { ...HEADERS, 'Content-Type': TYPES[type] }, body);
    });
    addMethodNotAllowed(app, front, path, 'get');
  }
}
