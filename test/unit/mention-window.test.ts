import { describe, expect, it } from 'vitest';
import {
  MENTION_WINDOW,
  MentionWindow,
  mentionKey,
  setMentionKey,
  WINDOW,
} from '../../engine/mention-window.js';
import { OwnWords } from '../../engine/undo-log.js';

const SEED = Number(process.env.TIDEMARK_SEED ?? Date.now() % 1_000_000_000);

function seeded(seed: number): (below: number) => number {
  let state = seed | 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >>> 8) % below;
  };
}

function create(): { window: MentionWindow; words: Int32Array } {
  const words = new Int32Array(MentionWindow.WORDS);
  return { window: new MentionWindow(new OwnWords(words)), words };
}

/** Few home buckets at both ends of the index, so that runs of buckets are long and wrap around. */
function crowdedKey(next: (below: number) => number): [number, number] {
  const home = (next(3) - 1) & (MENTION_WINDOW * 2 - 1);
  return [home | (next(4) << 20), next(40) << 24];
}

describe('the mention window', () => {
  it(`remembers exactly the last ${MENTION_WINDOW} (TIDEMARK_SEED=${SEED})`, () => {
    const next = seeded(SEED);
    const { window } = create();
    const model: string[] = [];
    for (let i = 0; i < MENTION_WINDOW * 3; i++) {
      const key: [number, number] = [next(1 << 20) | 0, (next(1 << 20) << 12) | 0];
      window.add(...key);
      model.push(key.join());
      if (i % 1000 === 0) window.check();
    }
    window.check();
    expect(window.count).toBe(MENTION_WINDOW);
    const remembered = new Set(model.slice(-MENTION_WINDOW));
    for (const key of model) {
      const [lo, hi] = key.split(',').map(Number);
      expect(window.has(lo!, hi!), `TIDEMARK_SEED=${SEED}`).toBe(remembered.has(key));
    }
  });

  it('finds keys that crowd in a few buckets, and forgets them one by one', { timeout: 60_000 }, () => {
    const next = seeded(SEED);
    const { window } = create();
    const model: string[] = [];
    // Nearly full with keys far away; the crowd then comes and goes as the ring goes round.
    for (let i = 0; i < MENTION_WINDOW * 2 + 700; i++) {
      const isCrowd = i % MENTION_WINDOW < 300;
      const key: [number, number] = isCrowd ? crowdedKey(next) : [5000 + (i % MENTION_WINDOW), i];
      window.add(...key);
      model.push(key.join());
      if (model.length > MENTION_WINDOW) model.shift();
      if (i % MENTION_WINDOW > 310) continue;
      window.check();
      const remembered = new Set(model);
      for (let j = 0; j < 8; j++) {
        const asked = crowdedKey(next);
        expect(window.has(...asked), `TIDEMARK_SEED=${SEED}`).toBe(remembered.has(asked.join()));
      }
    }
  });

  it('goes on where an earlier owner stopped', () => {
    const { window, words } = create();
    window.add(1, 2);
    const next = new MentionWindow(new OwnWords(words));
    expect(next.has(1, 2)).toBe(true);
    expect(next.has(2, 1)).toBe(false);
    next.add(3, 4);
    expect(next.count).toBe(2);
    next.check();
  });

  it('notices what is wrong', () => {
    const { window, words } = create();
    window.add(1, 2);
    window.add(1, 3);
    const bucket = words.findIndex((word, at) => at >= WINDOW.BUCKETS && word !== 0);
    const word = words[bucket]!;
    words[bucket] = 0;
    expect(() => window.check()).toThrow('1 buckets for 2 mentions');
    words[bucket + 5] = 1;
    expect(() => window.check()).toThrow('not reachable');
    words[bucket + 5] = 0;
    words[bucket] = word;
    window.check();
    words[WINDOW.NEXT] = 7;
    expect(() => window.check()).toThrow('next 7 of 2');
    expect(() => new MentionWindow(new OwnWords(new Int32Array(10)))).toThrow('mention window of 10 words');
  });

  it('has a key for each mention', () => {
    const base = [1, 2, 3, 4, 5, 6, 7] as const;
    const keys = new Set<string>();
    const add = (fields: readonly number[]) => {
      setMentionKey(...(fields as [number, number, number, number, number, number, number]));
      expect([mentionKey.lo, mentionKey.hi]).toEqual([mentionKey.lo | 0, mentionKey.hi | 0]);
      keys.add(`${mentionKey.lo} ${mentionKey.hi}`);
    };
    add(base);
    for (let field = 0; field < base.length; field++) {
      for (let bit = 0; bit < 32; bit++)
        add(base.map((value, i) => (i === field ? value ^ (1 << bit) : value)));
      for (let other = 0; other < field; other++)
        add(base.map((value, i) => base[i === field ? other : i === other ? field : i] ?? value));
    }
    expect(keys.size).toBe(1 + 7 * 32 + 21);
  });

  it('has keys of 64 bits: chance alone makes one word of two of them equal', () => {
    const seen = new Set<number>();
    const seenHigh = new Set<number>();
    let sameLow = 0;
    let sameHigh = 0;
    for (let user = 1; user <= 200_000; user++) {
      setMentionKey(Math.imul(user, 4096), user & 1023, 9, 9, 0, 77, 1);
      if (seen.has(mentionKey.lo)) sameLow++;
      seen.add(mentionKey.lo);
      if (seenHigh.has(mentionKey.hi)) sameHigh++;
      seenHigh.add(mentionKey.hi);
    }
    // 200,000^2 / 2^33 = 4.7 pairs are expected of each word.
    expect(sameLow).toBeLessThan(25);
    expect(sameHigh).toBeLessThan(25);
  });
});
