/**
 * The slab engine with owners that end between two stores: a call is cut off at one of its stores after the other, each
 * time rolled back by an heir with a partition object of its own, which goes on with the call, until one gets through.
 */
import { assert } from '../../engine/layout.js';
import type { Engine, Partition } from '../../engine/partition.js';
import { slab } from '../../engine/slab.js';
import { type StoredWords, UndoLog } from '../../engine/undo-log.js';
import { meaningOf } from '../support/partition-driver.js';
import type { Random } from './random.js';

class Death extends Error {}

/** Ends the owner at a store: before it is logged, or between the log and the word. */
class MortalWords implements StoredWords {
  constructor(
    private readonly inner: StoredWords,
    private readonly life: Life,
  ) {}

  get words(): StoredWords['words'] {
    return this.inner.words;
  }

  put(index: number, value: number): void {
    const { life, inner } = this;
    if (--life.stores <= 0) {
      if (life.logsLast) inner.put(index, inner.words[index]!);
      throw new Death(`at word ${index}`);
    }
    if (life.forgets(index)) (inner.words as Int32Array)[index] = value;
    else inner.put(index, value);
  }
}

interface Life {
  /** Until the end. */
  stores: number;
  logsLast: boolean;
  /** A broken log: whether a store is not logged. */
  readonly forgets: (index: number) => boolean;
}

class MortalLog extends UndoLog {
  constructor(
    log: SharedArrayBuffer,
    memory: SharedArrayBuffer,
    private readonly life: Life,
  ) {
    super(log, [memory]);
  }

  override of(memory: SharedArrayBuffer): StoredWords {
    return new MortalWords(super.of(memory), this.life);
  }
}

/** At the first stores of a call each, then at some. */
const EACH_STORE = 24;
const STRIDE_MAX = 12;
/** Calls that end before they get through, in percent; the others keep what their object remembers. */
const DYING_PERCENT = 25;

export interface MortalEngine extends Engine {
  readonly name: 'slab';
  readonly counts: { deaths: number; largestUnit: number };
}

export function mortalSlab(random: Random, forgets: Life['forgets'] = () => false): MortalEngine {
  const counts = { deaths: 0, largestUnit: 0 };
  const log = new SharedArrayBuffer(UndoLog.bytes());
  return {
    ...slab,
    name: 'slab',
    counts,
    attach(options, memory) {
      assert(memory !== null, 'a slab partition needs memory');
      const life: Life = { stores: Number.POSITIVE_INFINITY, logsLast: false, forgets };
      const attach = () => slab.attach(options, memory, 0, new MortalLog(log, memory, life));
      let partition = attach();
      /** What every owner is told again. */
      const told = new Map<string, () => void>();

      const inherit = (before: Buffer): void => {
        counts.deaths++;
        const undo = new UndoLog(log, [memory]);
        undo.rollBack();
        assert(before.equals(meaningOf(options, memory)), 'a roll-back leaves words that differ');
        life.stores = Number.POSITIVE_INFINITY;
        partition = attach();
        for (const tell of told.values()) tell();
        undo.commit();
      };

      const call = (name: keyof Partition, args: unknown[]): unknown => {
        const run = () => (partition[name] as (...args: unknown[]) => unknown)(...args);
        const dies = random.chance(DYING_PERCENT);
        // A replay's owner takes what it knows of wipes with it, and an heir begins from the first image, not at this one.
        const immortal = name === 'restoreImage' ? partition : null;
        const before = dies ? meaningOf(options, memory) : null;
        for (let at = 1; ; at += at < EACH_STORE ? 1 : 1 + random.next(STRIDE_MAX)) {
          life.stores = dies ? at : Number.POSITIVE_INFINITY;
          life.logsLast = random.chance(50);
          try {
            const result = run();
            if (name === 'setTick' || name === 'boundClock') told.set(name, run);
            return result;
          } catch (error) {
            if (!(error instanceof Death)) throw error;
            inherit(before!);
            partition = immortal ?? partition;
          } finally {
            const undo = new UndoLog(log, [memory]);
            counts.largestUnit = Math.max(counts.largestUnit, undo.pending);
            undo.commit();
          }
        }
      };

      return new Proxy(partition, {
        get(_, name: keyof Partition) {
          const value = partition[name];
          return typeof value === 'function' ? (...args: unknown[]) => call(name, args) : value;
        },
      });
    },
  };
}
