/**
 * The yardstick: uWebSockets with nothing behind it. WebSocket frames are echoed as they came; every POST is
 * answered with a fixed body of an entry's length once its own body has been read.
 * Run as a child process: says `listening PORT` on its standard output, and ends with its parent.
 */
import uWS from 'uWebSockets.js';

const ANSWER = JSON.stringify({
  id: '1312931237068800001',
  read_state_type: 0,
  last_message_id: '1323802873036800000',
  mention_count: 0,
  last_pin_timestamp: null,
  flags: 0,
  last_viewed: null,
  version: 17,
});

const app = uWS.App();
app.ws('/*', {
  maxPayloadLength: 1 << 20,
  maxBackpressure: 64 << 20,
  compression: uWS.DISABLED,
  message: (socket, message, isBinary) => {
    socket.send(message, isBinary);
  },
});
app.post('/*', (response) => {
  response.onAborted(() => {});
  response.onData((_chunk, isLast) => {
    if (!isLast) return;
    response.cork(() => {
      response.writeHeader('content-type', 'application/json').end(ANSWER);
    });
  });
});
app.listen('127.0.0.1', 0, (listening) => {
  if (listening === false) throw new Error('no port for the echo server');
  process.stdout.write(`listening ${uWS.us_socket_local_port(listening)}\n`);
});
process.on('disconnect', () => process.exit());
process.stdin.on('end', () => process.exit()).resume();
