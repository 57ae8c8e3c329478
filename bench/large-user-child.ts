/**
 * What the large user of bench-large-user does, in a process of its own, so that reading long answers disturbs no
 * measurement: `node large-user-child.js URL`, forked. Takes the name of a phase and repeats it until it gets `stop`,
 * then says how often it was done and how long each took. `prepare` is done once.
 */
import { sleep } from './clock.js';
import { LargeUserClient } from './large-user-client.js';
import { type Done, ENTRIES, type Phase } from './large-user-phases.js';

const USER = 1_215_086_513_356_800_001n;
const FIRST_CHANNEL = 1_215_086_513_356_800_000n;
const BULK = 100;
const BULKS_AT_ONCE = 8;
/** Users of BULK entries each, in two halves, which are listed in turn: either has no room beside the large user. */
const CROWD = 900;
const CROWD_FIRST = 2n ** 61n;
const PAUSE_MS = 200;
/**
 * Before one comes who takes another's room. A user's place in the order of eviction is up to a second old (a move within a
 * second of the last is left out), and whoever is to go is to be older than all others.
 */
const SETTLE_MS = 2000;

const client = await LargeUserClient.open(new URL(process.argv[2]!));
let message = BigInt(Date.now()) << 20n;

/** The first of the half that is listed next. */
let crowd = CROWD_FIRST;

async function write(user: bigint, entries: number): Promise<void> {
  let next = 0;
  message += 1n;
  const writer = async (): Promise<void> => {
    while (next < entries) {
      const from = next;
      next += BULK;
      await client.ackBulk(user, FIRST_CHANNEL + BigInt(from), Math.min(BULK, entries - from), message);
    }
  };
  await Promise.all(Array.from({ length: BULKS_AT_ONCE }, writer));
}

async function list(user: bigint, expected: number): Promise<void> {
  const entries = await client.list(user);
  if (entries !== expected) throw new Error(`${entries} entries, and should be ${expected}`);
}

async function prepare(): Promise<Done> {
  for (let i = 0; i < CROWD; i++) await write(CROWD_FIRST + BigInt(i), BULK);
  await write(USER, ENTRIES);
  return { times: [] };
}

async function timed(work: () => Promise<void>): Promise<number> {
  const startMs = performance.now();
  await work();
  return performance.now() - startMs;
}

/** Each resolves with how long it took, ms. */
const WORK: Record<Phase, () => Promise<number>> = {
  list: () => timed(() => list(USER, ENTRIES)),
  reload: async () => {
    await sleep(SETTLE_MS);
    for (let i = 0; i < CROWD / 2; i++) await list(crowd + BigInt(i), BULK);
    crowd = crowd === CROWD_FIRST ? CROWD_FIRST + BigInt(CROWD / 2) : CROWD_FIRST;
    await sleep(SETTLE_MS);
    return await timed(() => list(USER, ENTRIES));
  },
  write: () => timed(() => write(USER, ENTRIES)),
  delete: () =>
    timed(async () => {
      await client.deleteUser(USER);
      await write(USER, ENTRIES);
    }),
};

let isStopped = false;

async function repeat(phase: Phase): Promise<Done> {
  const times: number[] = [];
  isStopped = false;
  do {
    times.push(await WORK[phase]());
    await sleep(PAUSE_MS);
  } while (!isStopped);
  return { times };
}

process.on('message', (order: Phase | 'prepare' | 'stop') => {
  if (order === 'stop') {
    isStopped = true;
    return;
  }
  const work = order === 'prepare' ? prepare() : repeat(order);
  work.then(
    (done: Done) => process.send!(done),
    (error: Error) => {
      process.stderr.write(`${error.stack}\n`);
      process.exit(1);
    },
  );
});
process.on('disconnect', () => process.exit());
