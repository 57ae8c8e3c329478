import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRing, RING, RingReader, RingWriter, ringBytes } from '../../engine/ring.js';

const CAPACITY = 32;

/** A ring whose positions begin at `position`: also just before they wrap. */
function create(position = 0): { writer: RingWriter; reader: RingReader } {
  const memory = createRing(CAPACITY);
  const positions = new Int32Array(memory);
  positions[RING.TAIL] = position;
  positions[RING.HEAD] = position;
  return { writer: new RingWriter(memory), reader: new RingReader(memory) };
}

/** Reserves `room` words and commits `length` of them, each holding `value`. */
function send(writer: RingWriter, value: number, length: number, room = length): boolean {
  const at = writer.reserve(room);
  if (at === -1) return false;
  expect(at + room).toBeLessThanOrEqual(CAPACITY);
  writer.words.fill(value, at, at + length);
  writer.commit(length);
  return true;
}

/** The next message as `[value, length]`. */
function receive(reader: RingReader): [number, number] | null {
  const at = reader.next();
  if (at === -1) return null;
  const words = [...reader.words.subarray(at, at + reader.length)];
  expect(words.every((word) => word === words[0])).toBe(true);
  return [words[0]!, words.length];
}

describe('a ring', () => {
  it('hides what is not published, and what the reader has not looked for', () => {
    const { writer, reader } = create();
    expect(reader.refresh()).toBe(false);
    send(writer, 7, 3);
    expect(reader.refresh()).toBe(false);
    expect(reader.next()).toBe(-1);
    writer.publish();
    expect(reader.next()).toBe(-1);
    expect(reader.refresh()).toBe(true);
    expect(receive(reader)).toEqual([7, 3]);
    expect(receive(reader)).toBeNull();
  });

  it('knows what was released, also so long ago that positions have wrapped', () => {
    const { writer, reader } = create(2 ** 31 - 20);
    const long = writer.position;
    expect(writer.isReleased(long)).toBe(true);
    for (const ago of [0, 31, 100, 2 ** 31, 2 ** 32 - 100])
      expect(writer.isReleased((long - ago) | 0)).toBe(true);
    send(writer, 1, 9);
    writer.publish();
    expect(writer.isReleased(writer.position)).toBe(false);
    expect(writer.isReleased(long)).toBe(true);
    reader.refresh();
    reader.next();
    reader.release();
    expect(writer.isReleased(writer.position)).toBe(true);
  });

  it('gives nothing back before release', () => {
    const { writer, reader } = create();
    expect(send(writer, 1, 15)).toBe(true);
    expect(send(writer, 2, 15)).toBe(true);
    expect(send(writer, 3, 1)).toBe(false);
    writer.publish();
    reader.refresh();
    expect(receive(reader)).toEqual([1, 15]);
    expect(send(writer, 3, 1)).toBe(false);
    expect(writer.filledWords).toBe(32);
    reader.release();
    expect(writer.filledWords).toBe(16);
    expect(send(writer, 3, 15)).toBe(true);
    expect(send(writer, 4, 1)).toBe(false);
  });

  it('pads where a message does not fit before the end', () => {
    const { writer, reader } = create();
    send(writer, 1, 12);
    send(writer, 2, 11);
    writer.publish();
    reader.refresh();
    expect([receive(reader), receive(reader)]).toEqual([
      [1, 12],
      [2, 11],
    ]);
    reader.release();
    expect(writer.reserve(8)).toBe(1); // 25 words are used: 7 are left, and the length takes one
    writer.words.fill(3, 1, 9);
    writer.commit(8);
    expect(writer.filledWords).toBe(7 + 9);
    writer.publish();
    reader.refresh();
    expect(receive(reader)).toEqual([3, 8]);
    reader.release();
    expect(writer.filledWords).toBe(0);
  });

  it('pads once, also when the room after the pad is there only later', () => {
    const { writer, reader } = create();
    for (const length of [12, 11]) send(writer, length, length);
    writer.publish();
    reader.refresh();
    receive(reader);
    reader.release(); // 13 words free at the start, 7 at the end
    expect(writer.reserve(13)).toBe(-1);
    expect(writer.reserve(13)).toBe(-1);
    receive(reader);
    reader.release();
    expect(send(writer, 5, 13)).toBe(true);
    expect(writer.filledWords).toBe(7 + 14);
    expect(writer.reserve(15)).toBe(-1);
    writer.publish();
    reader.refresh();
    expect(receive(reader)).toEqual([5, 13]);
    expect(receive(reader)).toBeNull();
  });

  it('takes a message shorter than what was reserved', () => {
    const { writer, reader } = create();
    send(writer, 1, 2, 15);
    send(writer, 2, 15);
    writer.publish();
    reader.refresh();
    expect([receive(reader), receive(reader)]).toEqual([
      [1, 2],
      [2, 15],
    ]);
  });

  it('says how much is filled and whether more would fit', () => {
    const { writer, reader } = create(CAPACITY - 4);
    send(writer, 1, 5); // pads 4 words
    expect(reader.filledWords).toBe(0);
    writer.publish();
    expect([writer.filledWords, reader.filledWords]).toEqual([10, 10]);
    expect(writer.hasRoom(22, 0)).toBe(true);
    expect(writer.hasRoom(23, 0)).toBe(false);
    expect(writer.hasRoom(20, 3)).toBe(false);
    reader.refresh();
    receive(reader);
    expect(reader.filledWords).toBe(10);
    reader.release();
    expect([writer.filledWords, reader.filledWords]).toEqual([0, 0]);
    expect(writer.hasRoom(32, 0)).toBe(true);
  });

  it('is taken over by another reader and another writer', () => {
    const memory = createRing(CAPACITY);
    const writer = new RingWriter(memory);
    send(writer, 1, 4);
    send(writer, 2, 4);
    writer.publish();
    const reader = new RingReader(memory);
    reader.refresh();
    receive(reader);
    reader.release();
    const nextReader = new RingReader(memory);
    nextReader.refresh();
    expect(receive(nextReader)).toEqual([2, 4]);
    const nextWriter = new RingWriter(memory);
    send(nextWriter, 3, 4);
    nextWriter.publish();
    nextReader.refresh();
    expect(receive(nextReader)).toEqual([3, 4]);
  });

  it('refuses what can never fit, and sizes that are none', () => {
    const { writer } = create();
    expect(writer.reserve(15)).toBe(1);
    expect(() => writer.reserve(16)).toThrow('a message of too many words for its ring: 16');
    expect(() => ringBytes(8)).toThrow('ring of 8 words');
    expect(() => ringBytes(48)).toThrow('ring of 48 words');
    expect(() => new RingReader(new SharedArrayBuffer(ringBytes(32) + 4))).toThrow();
  });

  it('is a queue, whatever is done in whatever order, wherever its positions begin', () => {
    const step = fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({
          do: fc.constant('send' as const),
          length: fc.integer({ min: 1, max: 15 }),
          extra: fc.nat(14),
        }),
      },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('publish' as const) }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('refresh' as const) }) },
      { weight: 6, arbitrary: fc.record({ do: fc.constant('receive' as const) }) },
      { weight: 3, arbitrary: fc.record({ do: fc.constant('release' as const) }) },
    );
    const start = fc.constantFrom(0, 5, 0x7fffffe0, 0x7ffffff7, -9, -32);
    fc.assert(
      fc.property(start, fc.array(step, { maxLength: 120 }), (position, steps) => {
        const { writer, reader } = create(position);
        const queue: [number, number][] = [];
        let visible = 0; // messages of the queue that are published, seen, taken
        let seen = 0;
        let taken = 0;
        steps.forEach((it, value) => {
          if (it.do === 'send') {
            const room = Math.min(15, it.length + it.extra);
            const hasRoom = writer.hasRoom(1 + room, room);
            if (send(writer, value + 1, it.length, room)) {
              queue.push([value + 1, it.length]);
            } else {
              expect(hasRoom).toBe(false);
              expect(writer.filledWords, 'an empty ring has room (I4)').toBeGreaterThan(0);
            }
          } else if (it.do === 'publish') {
            writer.publish();
            visible = queue.length;
          } else if (it.do === 'refresh') {
            expect(reader.refresh()).toBe(visible > taken);
            seen = visible;
          } else if (it.do === 'receive') {
            expect(receive(reader)).toEqual(taken < seen ? queue[taken] : null);
            if (taken < seen) taken++;
          } else {
            reader.release();
          }
        });
        writer.publish();
        reader.refresh();
        for (; taken < queue.length; taken++) expect(receive(reader)).toEqual(queue[taken]);
        expect(receive(reader)).toBeNull();
        reader.release();
        expect(writer.filledWords).toBe(0);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('reviseUnpublished', () => {
  it.each([0, 20, 25, -8, 2 ** 31 - 6])(
    'shortens what is not published, also across the end (from %i)',
    (position) => {
      const { writer, reader } = create(position | 0);
      send(writer, 1, 5);
      writer.publish();
      for (const [value, length] of [
        [2, 4],
        [3, 6],
        [4, 3],
      ] as const)
        expect(send(writer, value, length)).toBe(true);
      const seen: number[] = [];
      writer.reviseUnpublished((at, length) => {
        seen.push(writer.words[at]!, length);
        return writer.words[at] === 3 ? 2 : length;
      });
      expect(seen).toEqual([2, 4, 3, 6, 4, 3]);
      writer.publish();
      reader.refresh();
      expect([receive(reader), receive(reader), receive(reader), receive(reader), receive(reader)]).toEqual([
        [1, 5],
        [2, 4],
        [3, 2],
        [4, 3],
        null,
      ]);
      reader.release();
      expect(writer.filledWords).toBe(0);
    },
  );
});
