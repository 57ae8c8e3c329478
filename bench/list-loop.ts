/**
 * Lists one user over HTTP again and again, in a process of its own, so that reading long answers disturbs no other
 * measurement: `node list-loop.js URL USER ENTRIES PAUSE_MS`. Says `listening` after the first list has the right
 * number of entries; ends when its standard input does, and says the latencies in microseconds as JSON.
 */
import { nowUs, sleep } from './clock.js';
import { HttpSocket } from './http-socket.js';
import { createHistogram } from './run-stats.js';

const [url, userId, entries, pauseMs] = process.argv.slice(2) as [string, string, string, string];
const path = `/v1/users/${userId}/read-states`;
const socket = await HttpSocket.open(new URL(url));
const latencyUs = createHistogram();
let isRunning = true;

function list(): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    socket.onClose = () => reject(new Error('the connection was closed'));
    socket.request('GET', path, '', (status, body) => {
      if (status === 200) resolve(body);
      else reject(new Error(`${path}: ${status} ${body.toString()}`));
    });
  });
}

const first = await list();
const found = (JSON.parse(first.toString()) as { entries: unknown[] }).entries.length;
if (found !== Number(entries)) throw new Error(`${path} has ${found} entries, and should have ${entries}`);
process.stdin.on('end', () => {
  isRunning = false;
});
process.stdin.resume();
process.stdout.write('listening\n');
while (isRunning) {
  const sentUs = nowUs();
  const body = await list();
  latencyUs.recordValue(Math.max(1, Math.round(nowUs() - sentUs)));
  if (body.length !== first.length)
    throw new Error(`${path}: ${body.length} bytes, and ${first.length} before`);
  await sleep(Number(pauseMs));
}
const [p50, p99] = [latencyUs.getValueAtPercentile(50), latencyUs.getValueAtPercentile(99)];
process.stdout.write(
  `${JSON.stringify({ lists: latencyUs.totalCount, bytes: first.length, p50, p99, max: latencyUs.maxValue })}\n`,
);
process.exit();
