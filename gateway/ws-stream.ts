/** `/v1/stream`: who may open a WebSocket, which protocol it speaks, and how it ends. */
import type { HttpRequest, HttpResponse, TemplatedApp, us_socket_context_t } from 'uWebSockets.js';
import type { Auth } from './auth.js';
import {
  BinaryConnection,
  CLOSE_GOING_AWAY,
  type Connection,
  JsonConnection,
  type SocketData,
} from './connections.js';
import { type ApiError, BUSY, invalid, STOPPING } from './errors.js';
import type { Front } from './front.js';
import { HttpCaller } from './http-answer.js';
import { BinaryProtocol } from './ws-binary.js';
import { JsonProtocol } from './ws-json.js';

const PATH = '/v1/stream';
const PROTOCOL_BINARY = 'tidemark.v1.bin';
const PROTOCOL_JSON = 'tidemark.v1.json';

const NO_PROTOCOL = invalid([
  { path: 'sec-websocket-protocol', message: `must offer ${PROTOCOL_BINARY} or ${PROTOCOL_JSON}` },
]);
const NO_UPGRADE = invalid([
  { path: 'upgrade', message: 'must be websocket: this path speaks no plain HTTP' },
]);

/**
 * uWebSockets cuts the connection (1006) of a frame beyond its own limit as soon as its length is read; up to that we can
 * still say 1009, but it gathers the frame first.
 */
const FRAME_SLACK_BYTES = 64 * 1024;
/** Likewise it drops what is beyond its own limit of backpressure, even our closing frame. */
const BACKPRESSURE_SLACK_BYTES = 64 * 1024 * 1024;

export function addStream(app: TemplatedApp, front: Front, auth: Auth): void {
  const { limits } = front;
  const binary = new BinaryProtocol(front);
  const json = new JsonProtocol(front);

  app.ws<SocketData>(PATH, {
    maxPayloadLength: limits.maxFrame + FRAME_SLACK_BYTES,
    maxBackpressure: limits.maxBackpressure + BACKPRESSURE_SLACK_BYTES,
    idleTimeout: Math.ceil(limits.idleTimeout / 1000),
    sendPingsAutomatically: true,
    upgrade: (response, request, context) => upgrade(front, auth, response, request, context),
    open: (socket) => {
      const { connection } = socket.getUserData();
      connection.socket = socket;
      front.counters.connectionsOpened++;
      if (front.stopping) connection.end(CLOSE_GOING_AWAY, 'the server is stopping');
    },
    message: (socket, message, isBinary) => {
      const { connection } = socket.getUserData();
      if (connection.socket === null) return; // cut off
      if (connection instanceof BinaryConnection) binary.receive(connection, message, isBinary);
      else if (connection instanceof JsonConnection) json.receive(connection, message, isBinary);
    },
    // The pongs of uWebSockets wait, too, for a client that pings and does not read.
    ping: (socket) => void socket.getUserData().connection.keepsUp(),
    drain: (socket) => socket.getUserData().connection.drained(),
    close: (socket) => {
      const { connection } = socket.getUserData();
      connection.closed();
      front.subscriptions.removeAll(connection);
      front.connections.release(connection.route);
    },
  });
  app.get(PATH, (response, request) => {
    // Clients whose WebSocket does not tell them why it was refused ask here.
    new HttpCaller(response, 0, front.counters).error(auth.refuse(request) ?? NO_UPGRADE);
  });
}

function upgrade(
  front: Front,
  auth: Auth,
  response: HttpResponse,
  request: HttpRequest,
  context: us_socket_context_t,
): void {
  const offered = request
    .getHeader('sec-websocket-protocol')
    .split(',')
    .map((name) => name.trim());
  const protocol = offered.find((name) => name === PROTOCOL_BINARY || name === PROTOCOL_JSON);
  const refusal = refuse(front, auth, request, protocol);
  let connection: Connection | null = null;
  if (refusal === null) {
    connection =
      protocol === PROTOCOL_BINARY
        ? new BinaryConnection(front.outbox)
        : new JsonConnection(front.outbox, front.queueBudget, front.budget);
    connection.route = front.connections.take(connection);
  }
  if (connection === null || connection.route === 0) {
    front.counters.upgradesRefused++;
    new HttpCaller(response, 0, front.counters).error(refusal ?? BUSY);
    return;
  }
  response.upgrade<SocketData>(
    { connection },
    request.getHeader('sec-websocket-key'),
    protocol!,
    request.getHeader('sec-websocket-extensions'),
    context,
  );
}

function refuse(
  front: Front,
  auth: Auth,
  request: HttpRequest,
  protocol: string | undefined,
): ApiError | null {
  const refusal = auth.refuse(request);
  if (refusal !== null) return refusal;
  if (front.stopping) return STOPPING;
  return protocol === undefined ? NO_PROTOCOL : null;
}
