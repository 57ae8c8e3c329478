/** A process that has an LMDB store, to be killed or starved by lmdb.test.ts. Arguments: directory, mode. */
import { ENTRY, ROW } from '../../engine/messages.js';
import { LmdbStore } from '../../workers/stores/lmdb.js';
import type { WriteGroup } from '../../workers/stores/store.js';

/** A group of `count` rows: channels 1 to `count`. */
function group(user: number, count: number): WriteGroup {
  const rows = new Int32Array(count * ROW.WORDS);
  for (let i = 0; i < count; i++) {
    rows[i * ROW.WORDS + ENTRY.CHANNEL_LO] = i + 1;
    rows[i * ROW.WORDS + ENTRY.MESSAGE_LO] = user;
  }
  const clock = { clockLo: user, clockHi: 0 };
  return { userLo: user, userHi: 0, version: user, deletedVersion: 0, ...clock, wipe: false, rows, count };
}

const say = (what: unknown): void => {
  process.stdout.write(`${JSON.stringify(what)}\n`);
};

const [directory, mode] = process.argv.slice(2);
const store = new LmdbStore(directory!);
await store.open();
say('open');

if (mode === 'hold') setInterval(() => {}, 1000);

/** Users 1, 2, 3 … in calls of 7 groups; says which are stored. */
if (mode === 'write') {
  for (let user = 1; ; user += 7) {
    const users = Array.from({ length: 7 }, (_, i) => user + i);
    const results = await store.write(users.map((one) => group(one, 20)));
    say(users.filter((_, index) => results[index] === null));
  }
}

/** A group that is larger than the files may be, between two that are not; then another small one. */
if (mode === 'full') {
  const results = await store.write([group(1, 10), group(2, 300_000), group(3, 10)]);
  say(results.map((error) => error?.message ?? null));
  say((await store.write([group(4, 10)])).map((error) => error?.message ?? null));
  await store.close();
}
