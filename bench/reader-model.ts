/**
 * What clients would have sent while the recorded messages came in. Readers leave no trace in most recordings, so
 * their acknowledgements are modelled; everything here is a function of the trace, the options and the seed.
 *
 * - A user who shows up (writes, or acks in the trace) for the first time, or again after `idleMs`, connects: `list`.
 * - Who writes has read: `ack` of the own message, at the moment of the message. Then a `mention` for each user named.
 * - Who writes in a channel has it in view, until `viewMs` have passed without a message of theirs, or they write in
 *   another channel. Of a channel's viewers, `readerShare` acknowledge what others write (chosen once for each user).
 * - They do it when the channel has been quiet for `burstMs` (each up to a fifth earlier or later), one `ack` for the
 *   whole burst; or at once when a message mentions them, and then for all before it, too.
 * - MESSAGE_ACK dispatches are taken as they are.
 *
 * Operations come out in the order of their time; those of the same time in the order of the dispatches.
 */
import { mix } from '../engine/hash.js';
import { Random } from './random.js';
import type { Dispatch, MessageCreate } from './trace.js';

export interface ModelOptions {
  seed: number;
  /** Off: only authors' acks, mentions, lists and what the trace says. */
  readers: boolean;
  readerShare: number;
  burstMs: number;
  viewMs: number;
  idleMs: number;
}

export const MODEL_DEFAULTS: ModelOptions = {
  seed: 1,
  readers: true,
  readerShare: 1,
  burstMs: 3_000,
  viewMs: 600_000,
  idleMs: 1_800_000,
};

export interface Operation {
  kind: 'ack' | 'mention' | 'list';
  atMs: number;
  userId: string;
  /** Not of a list. */
  channelId: string;
  messageId: string;
  mentionCount: number | undefined;
  manual: boolean;
}

interface Viewer {
  userId: string;
  untilMs: number;
  /** The last message that is not acknowledged yet; empty: none. */
  pendingId: string;
  dueMs: number;
  hasTimer: boolean;
}

interface Timer {
  atMs: number;
  order: number;
  channelId: string;
  viewer: Viewer;
}

export class ReaderModel {
  readonly #options: ModelOptions;
  readonly #random: Random;
  readonly #emit: (operation: Operation) => void;
  readonly #seenMs = new Map<string, number>();
  readonly #channelInView = new Map<string, string>();
  readonly #viewers = new Map<string, Map<string, Viewer>>();
  readonly #timers = new TimerHeap();
  #nowMs = Number.NEGATIVE_INFINITY;

  constructor(options: ModelOptions, emit: (operation: Operation) => void) {
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#emit = emit;
  }

  /** The next dispatch. One that is older than the one before counts as of the same time. */
  take(dispatch: Dispatch): void {
    this.#nowMs = Math.max(this.#nowMs, dispatch.atMs);
    this.#runTimers(this.#nowMs);
    if (dispatch.kind === 'message') this.#message(dispatch);
    else {
      this.#appear(dispatch.userId);
      const { userId, channelId, messageId, mentionCount, manual } = dispatch;
      this.#emit({ kind: 'ack', atMs: this.#nowMs, userId, channelId, messageId, mentionCount, manual });
    }
  }

  /** The trace is over: what is still to be acknowledged is. */
  finish(): void {
    this.#runTimers(Number.POSITIVE_INFINITY);
  }

  #message({ id, channelId, authorId, mentionIds }: MessageCreate): void {
    const atMs = this.#nowMs;
    this.#appear(authorId);
    this.#ack(atMs, authorId, channelId, id);
    for (const userId of mentionIds) {
      this.#emit({
        kind: 'mention',
        atMs,
        userId,
        channelId,
        messageId: id,
        mentionCount: undefined,
        manual: false,
      });
    }
    if (!this.#options.readers) return;
    for (const viewer of this.#viewers.get(channelId)?.values() ?? []) {
      if (viewer.userId === authorId) continue;
      if (viewer.untilMs < atMs) {
        this.#viewers.get(channelId)!.delete(viewer.userId);
        continue;
      }
      viewer.pendingId = id;
      if (mentionIds.includes(viewer.userId)) this.#acknowledge(viewer, channelId, atMs);
      else this.#schedule(viewer, channelId, atMs);
    }
    this.#view(authorId, channelId, atMs);
  }

  #appear(userId: string): void {
    const seenMs = this.#seenMs.get(userId);
    this.#seenMs.set(userId, this.#nowMs);
    if (seenMs !== undefined && this.#nowMs - seenMs < this.#options.idleMs) return;
    this.#emit({
      kind: 'list',
      atMs: this.#nowMs,
      userId,
      channelId: '',
      messageId: '',
      mentionCount: undefined,
      manual: false,
    });
  }

  #ack(atMs: number, userId: string, channelId: string, messageId: string): void {
    this.#emit({ kind: 'ack', atMs, userId, channelId, messageId, mentionCount: undefined, manual: false });
  }

  /** The author looks at this channel now, and has read it up to here. */
  #view(userId: string, channelId: string, atMs: number): void {
    const before = this.#channelInView.get(userId);
    if (before !== undefined && before !== channelId) this.#viewers.get(before)?.delete(userId);
    this.#channelInView.set(userId, channelId);
    if (!this.#isReader(userId)) return;
    let viewers = this.#viewers.get(channelId);
    if (viewers === undefined) {
      viewers = new Map();
      this.#viewers.set(channelId, viewers);
    }
    const viewer = viewers.get(userId);
    const untilMs = atMs + this.#options.viewMs;
    if (viewer === undefined) {
      viewers.set(userId, { userId, untilMs, pendingId: '', dueMs: 0, hasTimer: false });
    } else {
      viewer.untilMs = untilMs;
      viewer.pendingId = '';
    }
  }

  #isReader(userId: string): boolean {
    const { readerShare, seed } = this.#options;
    if (readerShare >= 1) return true;
    let hash = seed;
    for (let i = 0; i < userId.length; i++) hash = mix(hash ^ userId.charCodeAt(i));
    return (hash >>> 0) / 4294967296 < readerShare;
  }

  /** The pause is counted from the last message of the burst. A timer that rings early waits once more. */
  #schedule(viewer: Viewer, channelId: string, atMs: number): void {
    viewer.dueMs = atMs + Math.round(this.#options.burstMs * (0.8 + 0.4 * this.#random.fraction()));
    if (viewer.hasTimer) return;
    viewer.hasTimer = true;
    this.#timers.push({ atMs: viewer.dueMs, order: 0, channelId, viewer });
  }

  #acknowledge(viewer: Viewer, channelId: string, atMs: number): void {
    this.#ack(atMs, viewer.userId, channelId, viewer.pendingId);
    viewer.pendingId = '';
  }

  #runTimers(untilMs: number): void {
    for (
      let timer = this.#timers.popUntil(untilMs);
      timer !== undefined;
      timer = this.#timers.popUntil(untilMs)
    ) {
      const { viewer, channelId, atMs } = timer;
      if (viewer.pendingId !== '' && viewer.dueMs > atMs) {
        this.#timers.push({ ...timer, atMs: viewer.dueMs });
        continue;
      }
      viewer.hasTimer = false;
      // Who has left for another channel in the meantime does not read on in this one.
      if (viewer.pendingId === '' || this.#viewers.get(channelId)?.get(viewer.userId) !== viewer) continue;
      this.#acknowledge(viewer, channelId, atMs);
    }
  }
}

/** A binary heap by time, then by the order of insertion. */
class TimerHeap {
  readonly #heap: Timer[] = [];
  #order = 0;

  push(timer: Timer): void {
    timer.order = this.#order++;
    const heap = this.#heap;
    heap.push(timer);
    let at = heap.length - 1;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if (!isBefore(heap[at]!, heap[parent]!)) break;
      this.#swap(at, parent);
      at = parent;
    }
  }

  popUntil(atMs: number): Timer | undefined {
    const heap = this.#heap;
    const top = heap[0];
    if (top === undefined || top.atMs > atMs) return undefined;
    const last = heap.pop()!;
    if (heap.length === 0) return top;
    heap[0] = last;
    for (let at = 0; ; ) {
      const left = 2 * at + 1;
      if (left >= heap.length) break;
      const right = left + 1;
      const child = right < heap.length && isBefore(heap[right]!, heap[left]!) ? right : left;
      if (!isBefore(heap[child]!, heap[at]!)) break;
      this.#swap(at, child);
      at = child;
    }
    return top;
  }

  #swap(a: number, b: number): void {
    const heap = this.#heap;
    const other = heap[a]!;
    heap[a] = heap[b]!;
    heap[b] = other;
  }
}

function isBefore(a: Timer, b: Timer): boolean {
  return a.atMs !== b.atMs ? a.atMs < b.atMs : a.order < b.order;
}
