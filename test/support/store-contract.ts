/** What every store must do, and the shards rely on: the same tests for each of them. */
import fc from 'fast-check';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { META_DELETED, META_FLUSHING, META_STORED } from '../../engine/layout.js';
import { ENTRY, LOAD_KEY, LOAD_PART_ROWS, ROW } from '../../engine/messages.js';
import type { Store, WriteGroup } from '../../workers/stores/store.js';
import { StoreGeneration } from '../../workers/warm/store-generation.js';

/** A row for people: ids as bigint, the other words as they are. */
interface Row {
  readonly channel: bigint;
  readonly type: number;
  readonly message: bigint;
  readonly words: readonly number[];
}

const lo = (id: bigint): number => Number(BigInt.asIntN(32, id));
const hi = (id: bigint): number => Number(id >> 32n);
const id = (low: number, high: number): bigint => (BigInt(high) << 32n) | BigInt(low >>> 0);

/** The words of a row behind its message: mentions, version, pin (2), fingerprint. */
const FIELDS = [ENTRY.MENTION_COUNT, ENTRY.VERSION, ENTRY.PIN_LO, ENTRY.PIN_HI, ROW.FINGERPRINT];

function encode(rows: readonly Row[], state: number): Int32Array {
  const words = new Int32Array(rows.length * ROW.WORDS);
  rows.forEach((row, index) => {
    const at = index * ROW.WORDS;
    words[at + ENTRY.CHANNEL_LO] = lo(row.channel);
    words[at + ENTRY.CHANNEL_HI] = hi(row.channel);
    words[at + ENTRY.MESSAGE_LO] = lo(row.message);
    words[at + ENTRY.MESSAGE_HI] = hi(row.message);
    words[at + ENTRY.META] = row.type | state;
    FIELDS.forEach((field, i) => {
      words[at + field] = row.words[i]!;
    });
  });
  return words;
}

function decode(words: Int32Array, count: number): Row[] {
  return Array.from({ length: count }, (_, index) => {
    const at = index * ROW.WORDS;
    return {
      channel: id(words[at + ENTRY.CHANNEL_LO]!, words[at + ENTRY.CHANNEL_HI]!),
      type: words[at + ENTRY.META]!,
      message: id(words[at + ENTRY.MESSAGE_LO]!, words[at + ENTRY.MESSAGE_HI]!),
      words: FIELDS.map((field) => words[at + field]!),
    };
  });
}

interface GroupOptions {
  readonly version?: number;
  readonly deletedVersion?: number;
  readonly wipe?: boolean;
  readonly deleted?: boolean;
}

let clock = 0;
function group(user: bigint, rows: readonly Row[], options: GroupOptions = {}): WriteGroup {
  const { version = 1, deletedVersion = 0, wipe = false, deleted = false } = options;
  return {
    userLo: lo(user),
    userHi: hi(user),
    version,
    deletedVersion,
    clockLo: ++clock,
    clockHi: 0,
    wipe,
    rows: encode(rows, deleted ? META_DELETED | META_STORED : META_FLUSHING),
    count: rows.length,
  };
}

function row(channel: bigint, type = 0, message = 1n): Row {
  return { channel, type, message, words: [1, 2, 3, 4, 5] };
}

async function loadUser(store: Store, user: bigint) {
  const rows: Row[] = [];
  const parts: number[] = [];
  const userRow = await store.loadUser(lo(user), hi(user), (words, count) => {
    rows.push(...decode(words, count));
    parts.push(count);
    words.fill(-1); // valid only during the call: the store must not rely on it either
  });
  return { rows, parts, userRow };
}

async function loadRows(store: Store, user: bigint, keys: readonly (readonly [bigint, number])[]) {
  const words = new Int32Array(keys.length * LOAD_KEY.WORDS);
  keys.forEach(([channel, type], index) => {
    words.set([lo(channel), hi(channel), type], index * LOAD_KEY.WORDS);
  });
  const rows: Row[] = [];
  const userRow = await store.loadRows(lo(user), hi(user), words, keys.length, (found, count) => {
    rows.push(...decode(found, count));
  });
  return { rows, userRow };
}

async function write(store: Store, ...groups: WriteGroup[]): Promise<void> {
  expect(await store.write(groups)).toEqual(groups.map(() => null));
}

const byKey = (a: Row, b: Row): number =>
  a.channel === b.channel ? a.type - b.type : a.channel < b.channel ? -1 : 1;

const ID_MAX = 2n ** 63n - 1n;

type MakeStore = () => Store | Promise<Store>;

/**
 * Declares the tests; call it within a `describe`.
 * @param newPlace  makes an empty place for data; each call of what it gives makes a store there, not open
 */
export function storeContract(newPlace: () => MakeStore | Promise<MakeStore>): void {
  let make: MakeStore;
  let store: Store;
  beforeEach(async () => {
    make = await newPlace();
    store = await make();
    await store.open();
  });
  afterEach(() => store.close());

  it('knows nothing of a user that was never written', async () => {
    const nothing = { rows: [], userRow: { version: 0, deletedVersion: 0 } };
    expect(await loadUser(store, 7n)).toEqual({ ...nothing, parts: [] });
    expect(await loadRows(store, 7n, [[1n, 0]])).toEqual(nothing);
  });

  it('keeps a user row without rows', async () => {
    await write(store, group(7n, [], { version: 3, deletedVersion: 2 }));
    expect(await loadUser(store, 7n)).toEqual({
      rows: [],
      parts: [],
      userRow: { version: 3, deletedVersion: 2 },
    });
    expect((await loadRows(store, 7n, [])).userRow).toEqual({ version: 3, deletedVersion: 2 });
  });

  it('tells whether it was used since it was left', async () => {
    const warnings: string[] = [];
    const use = () => new StoreGeneration(store, (text) => void warnings.push(text));
    const first = use();
    const mark = await first.claim();
    expect(mark!.generation).toBe(0);
    expect(mark!.identity).toBeGreaterThan(0);
    await write(store, group(7n, [row(1n)]));
    const left = await first.seal();
    expect(left).toBeGreaterThan(1);
    expect(await use().claim()).toEqual({ generation: left, identity: mark!.identity }); // nobody was here since
    const { generation, identity } = (await use().claim())!;
    expect(generation).toBeGreaterThan(left!); // the claim was
    expect(identity).toBe(mark!.identity);
    expect((await loadUser(store, 7n)).rows.length).toBe(1);
    expect(warnings).toEqual([]);
  });

  it('is marked as used also by a host whose clock is behind that of the last', async () => {
    const warnings: string[] = [];
    const use = () => new StoreGeneration(store, (text) => void warnings.push(text));
    const left = await use().seal();
    const hourMs = 3_600_000;
    const now = vi.spyOn(Date, 'now').mockReturnValue(Date.now() - hourMs);
    const behind = use();
    expect((await behind.claim())!.generation).toBe(left);
    const sealed = await behind.seal();
    now.mockRestore();
    expect(sealed).toBeGreaterThan(left!);
    expect((await use().claim())!.generation).toBe(sealed);
    expect(warnings).toEqual([]);
  });

  it('gives rows in (channel, type) order, the ids unsigned', async () => {
    const channels = [
      1n,
      255n,
      256n,
      0x7fffffffn,
      0x80000000n,
      0xffffffffn,
      0x100000000n,
      ID_MAX - 1n,
      ID_MAX,
    ];
    const rows = channels.flatMap((channel) => [0, 1, 5].map((type) => row(channel, type)));
    const shuffled = [...rows].sort(
      (a, b) => Number((a.channel * 7919n) % 101n) - Number((b.channel * 7919n) % 101n),
    );
    expect(shuffled).not.toEqual(rows);
    await write(store, group(9n, shuffled));
    expect((await loadUser(store, 9n)).rows).toEqual(rows);
  });

  it('keeps the users apart, also neighbours and the last', async () => {
    const users = [1n, 2n, 0xffn, 0x100n, 0xffffffffn, 0x100000000n, ID_MAX - 1n, ID_MAX];
    for (const user of users) await write(store, group(user, [row(1n, 0, user), row(ID_MAX, 5, user)]));
    for (const user of users) {
      expect((await loadUser(store, user)).rows).toEqual([row(1n, 0, user), row(ID_MAX, 5, user)]);
    }
  });

  it('gives only what of a row is stored, not the state of the record', async () => {
    await write(store, group(7n, [row(5n, 3)]));
    const { rows } = await loadRows(store, 7n, [
      [5n, 3],
      [5n, 2],
      [6n, 3],
    ]);
    expect(rows).toEqual([row(5n, 3)]);
  });

  it('deletes a row, and only that', async () => {
    await write(store, group(7n, [row(5n, 0), row(5n, 1), row(6n, 0)]));
    await write(
      store,
      group(7n, [row(5n, 1), row(99n, 0)], { deleted: true, version: 2, deletedVersion: 2 }),
    );
    expect(await loadUser(store, 7n)).toMatchObject({
      rows: [row(5n, 0), row(6n, 0)],
      userRow: { version: 2, deletedVersion: 2 },
    });
  });

  it('wipes a user and then writes the rows of the group, in one call with what came before and after', async () => {
    await write(store, group(7n, [row(1n), row(2n), row(3n)]), group(8n, [row(1n)]));
    await write(
      store,
      group(7n, [row(4n)], { version: 2 }),
      group(8n, [row(2n)]),
      group(7n, [row(3n, 0, 9n)], { version: 3, deletedVersion: 3, wipe: true }),
      group(7n, [row(5n)], { version: 4, deletedVersion: 3 }),
    );
    expect(await loadUser(store, 7n)).toMatchObject({
      rows: [row(3n, 0, 9n), row(5n)],
      userRow: { version: 4, deletedVersion: 3 },
    });
    expect((await loadUser(store, 8n)).rows).toEqual([row(1n), row(2n)]);
  });

  it('wipes a user of very many rows whole, and nobody else', async () => {
    const rows = Array.from({ length: 2500 }, (_, i) => row(BigInt(i + 1)));
    const groups: WriteGroup[] = [];
    for (let from = 0; from < rows.length; from += 100) groups.push(group(7n, rows.slice(from, from + 100)));
    await write(store, ...groups, group(8n, [row(1n)]));
    await write(store, group(7n, [row(9n)], { version: 2, deletedVersion: 2, wipe: true }));
    expect((await loadUser(store, 7n)).rows).toEqual([row(9n)]);
    expect((await loadUser(store, 8n)).rows).toEqual([row(1n)]);
  });

  it('keeps the versions of users apart whose ids have the same low word', async () => {
    const other = 7n + (1n << 32n);
    await write(store, group(other, [], { version: 9, deletedVersion: 8 }), group(7n, [], { version: 2 }));
    expect((await loadUser(store, 7n)).userRow).toEqual({ version: 2, deletedVersion: 0 });
    expect((await loadUser(store, other)).userRow).toEqual({ version: 9, deletedVersion: 8 });
  });

  it('never takes the versions of a user back, also by a group that comes late', async () => {
    const late = group(7n, [], { version: 5, deletedVersion: 4 });
    await write(store, group(7n, [], { version: 9, deletedVersion: 8 }));
    await write(store, late);
    expect((await loadUser(store, 7n)).userRow).toEqual({ version: 9, deletedVersion: 8 });
    await write(store, group(7n, [], { version: 10 }), group(7n, [row(1n)], { version: 11 }));
    expect((await loadUser(store, 7n)).userRow).toEqual({ version: 11, deletedVersion: 8 });
  });

  it('takes versions as unsigned words', async () => {
    const high = 2 ** 32 - 2;
    const late = group(7n, [], { version: 5, deletedVersion: 1 });
    await write(store, group(7n, [], { version: high | 0, deletedVersion: high | 0 }));
    await write(store, late);
    expect((await loadUser(store, 7n)).userRow).toEqual({ version: high, deletedVersion: high });
  });

  it('applies calls of write in the order in which they were made', async () => {
    const calls = Array.from({ length: 50 }, (_, i) =>
      store.write([group(7n, [row(1n, 0, BigInt(i + 1))], { version: i + 1 })]),
    );
    await Promise.all(calls);
    expect((await loadUser(store, 7n)).rows).toEqual([row(1n, 0, 50n)]);
  });

  it('gives a user of 10,000 rows in parts, and other work runs in between', async () => {
    const rows = Array.from({ length: 10_000 }, (_, i) => row(BigInt(i + 1) << 20n, i % 6));
    for (let from = 0; from < rows.length; from += 100) {
      await write(store, group(7n, rows.slice(from, from + 100)));
    }
    await write(store, group(8n, [row(1n)]));
    let turns = 0;
    let goesOn = true;
    const turn = (): void => {
      turns++;
      if (goesOn) setImmediate(turn);
    };
    turn();
    const loaded: Row[] = [];
    let partsMax = 0;
    await store.loadUser(7, 0, async (words, count) => {
      loaded.push(...decode(words, count));
      partsMax = Math.max(partsMax, count);
      await new Promise(setImmediate); // the receiver is full
    });
    goesOn = false;
    expect(loaded).toEqual(rows);
    expect(partsMax).toBe(LOAD_PART_ROWS);
    expect(turns).toBeGreaterThan(rows.length / LOAD_PART_ROWS);
  });

  it.each([LOAD_PART_ROWS - 1, LOAD_PART_ROWS, LOAD_PART_ROWS + 1])(
    'gives a user of %i rows once',
    async (count) => {
      const rows = Array.from({ length: count }, (_, i) => row(BigInt(i + 1)));
      await write(store, group(7n, rows), group(8n, [row(1n)]));
      expect((await loadUser(store, 7n)).rows).toEqual(rows);
      expect(
        (
          await loadRows(
            store,
            7n,
            rows.map(({ channel }) => [channel, 0] as const),
          )
        ).rows,
      ).toEqual(rows);
    },
  );

  it('rejects the load when the receiver fails', async () => {
    await write(store, group(7n, [row(1n)]));
    const load = store.loadUser(7, 0, () => Promise.reject(new Error('gone')));
    await expect(load).rejects.toThrow('gone');
  });

  it('has everything after it was closed and opened again', async () => {
    await write(store, group(7n, [row(1n), row(2n, 4)], { version: 5 }));
    await store.close();
    store = await make();
    await store.open();
    expect(await loadUser(store, 7n)).toMatchObject({
      rows: [row(1n), row(2n, 4)],
      userRow: { version: 5, deletedVersion: 0 },
    });
  });

  it('agrees with a Map after any sequence of groups', async () => {
    const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
    const rowOf = fc.record({
      channel: fc.oneof(fc.bigInt({ min: 1n, max: 6n }), fc.bigInt({ min: 1n, max: ID_MAX })),
      type: fc.integer({ min: 0, max: 5 }),
      message: fc.bigInt({ min: 0n, max: ID_MAX }),
      words: fc.array(int32, { minLength: FIELDS.length, maxLength: FIELDS.length }),
    });
    const step = fc.record({
      user: fc.oneof(fc.bigInt({ min: 1n, max: 3n }), fc.constant(ID_MAX)),
      rows: fc.uniqueArray(rowOf, { maxLength: 8, selector: ({ channel, type }) => `${channel}:${type}` }),
      deleted: fc.boolean(),
      wipe: fc.integer({ min: 0, max: 5 }).map((chance) => chance === 0),
    });
    let base = 1n << 40n; // each run has users of its own
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(step, { maxLength: 5 }), { maxLength: 8 }), async (calls) => {
        base += 1n << 32n;
        const model = new Map<bigint, Map<string, Row>>();
        const userOf = (user: bigint): bigint => (user === ID_MAX ? ID_MAX - base : base + user);
        for (const call of calls) {
          const groups = call.map(({ user, rows, deleted, wipe }) => {
            const kept = model.get(user) ?? new Map<string, Row>();
            model.set(user, kept);
            if (wipe) kept.clear();
            for (const one of rows) {
              const key = `${one.channel}:${one.type}`;
              if (deleted) kept.delete(key);
              else kept.set(key, one);
            }
            return group(userOf(user), rows, { deleted, wipe });
          });
          await write(store, ...groups);
        }
        for (const [user, kept] of model) {
          const sorted = [...kept.values()].sort(byKey);
          expect((await loadUser(store, userOf(user))).rows).toEqual(sorted);
          const keys = sorted.map(({ channel, type }) => [channel, type] as const);
          expect((await loadRows(store, userOf(user), keys)).rows).toEqual(sorted);
        }
      }),
      { numRuns: 40 },
    );
  }, 60_000);
}
