/** What the benchmarks of a running service have in common: connections with a blaster, filling, right answers. */
import { assert } from '../engine/layout.js';
import { REQUEST, STATUS_BUSY, STATUS_DUPLICATE, STATUS_OK, STATUS_SUPPRESSED } from '../engine/messages.js';
import { TidemarkClient } from '../gateway/client/index.js';
import { type BlasterOptions, type BlastResult, FrameBlaster } from './frame-blaster.js';
import { RawSocket } from './raw-socket.js';
import { rawWebSocket } from './raw-web-socket.js';
import type { WireWorkload } from './wire-workload.js';

export const OPS_PER_FRAME = 64;
const CHECKED_USERS = 200;
const SETTLE_MS = 1000;

/** @throws Error unless all operations did what they should, or, if they may be, were refused for too much load */
export function requireAnswers({ statuses }: BlastResult, mayBeBusy = false): void {
  const good = [STATUS_OK, STATUS_SUPPRESSED, STATUS_DUPLICATE, ...(mayBeBusy ? [STATUS_BUSY] : [])];
  const bad = statuses.reduce((sum, count, status) => sum + (good.includes(status) ? 0 : count), 0);
  if (bad > 0) throw new Error(`${bad} operations were refused; answers by status: ${statuses.join(', ')}`);
}

type SessionOptions = Partial<Pick<BlasterOptions, 'answers' | 'opsPerFrame' | 'onLatency'>> & {
  /** An overload is a result, not an error. */
  readonly mayBeBusy?: boolean;
};

/** A blaster on new connections; the caller closes it. */
export async function openBlaster(
  url: URL,
  connections: number,
  fill: BlasterOptions['fill'],
  options: SessionOptions = {},
): Promise<{ readonly blaster: FrameBlaster; readonly close: () => void }> {
  const { opsPerFrame = OPS_PER_FRAME } = options;
  const frameWords = opsPerFrame * REQUEST.WORDS;
  const sockets: RawSocket[] = [];
  for (let i = 0; i < connections; i++) sockets.push(await RawSocket.open({ url, frameWords }));
  return {
    blaster: new FrameBlaster({ sockets, fill, answers: 'service', ...options, opsPerFrame }),
    close: () => {
      for (const socket of sockets) {
        socket.onClose = () => {};
        socket.close();
      }
    },
  };
}

/** Runs `work` with a blaster on new connections; its answers must be right. */
export async function withBlaster(
  url: URL,
  connections: number,
  fill: BlasterOptions['fill'],
  work: (blaster: FrameBlaster) => Promise<BlastResult>,
  options: SessionOptions = {},
): Promise<BlastResult> {
  const { blaster, close } = await openBlaster(url, connections, fill, options);
  try {
    const result = await work(blaster);
    if (options.answers !== 'echo') requireAnswers(result, options.mayBeBusy);
    return result;
  } finally {
    close();
  }
}

/**
 * An open loop after one that does not count: connections that are new take memory, their buffers and the kernel's, and the first
 * frames wait for it, for up to a tenth of a second.
 */
export async function settledOpenLoop(
  blaster: FrameBlaster,
  durationMs: number,
  framesPerSecond: number,
  window: number,
): Promise<BlastResult> {
  await blaster.openLoop(SETTLE_MS, framesPerSecond, window);
  return await blaster.openLoop(durationMs, framesPerSecond, window);
}

/** Frames in flight on a connection of a fill: fewer, where the service has to write to the store for room and refuses some. */
const FILL_WINDOWS = [8, 2, 1] as const;

/** Fills one service with all users and records. */
export async function prefill(
  url: URL,
  workload: WireWorkload,
): Promise<{ listsPerSecond: number; acksPerSecond: number }> {
  workload.rewind();
  const frames = (count: number): number => Math.ceil(count / OPS_PER_FRAME);
  const lists = await withBlaster(url, 4, workload.listNext, (blaster) =>
    blaster.sendAll(frames(workload.users), 16),
  );
  workload.rewind();
  for (const window of FILL_WINDOWS) {
    const acks = await withBlaster(
      url,
      8,
      workload.ackNext,
      (blaster) => blaster.sendAll(frames(workload.records), window),
      { mayBeBusy: window > 1 },
    );
    workload.rewind();
    if (acks.statuses[STATUS_BUSY] === 0) return { listsPerSecond: lists.rate, acksPerSecond: acks.rate };
  }
  throw new Error('a service refuses some of its records');
}

/** The answers are right before they are fast. @throws Error that says what was wrong */
export async function checkService(url: URL, workload: WireWorkload): Promise<void> {
  const client = new TidemarkClient({ url: url.href, webSocket: rawWebSocket });
  try {
    for (let i = 0; i < CHECKED_USERS; i++) {
      const userId = workload.userId(Math.floor((i * workload.users) / CHECKED_USERS));
      const { entries } = await client.list(userId);
      assert(entries.length === workload.channelsPerUser, `user ${userId} has ${entries.length} entries`);
      const { channelId, lastMessageId } = entries[i % entries.length]!;
      const message = String(BigInt(lastMessageId!) + 1n);
      assert(
        (await client.ack(userId, channelId, '1')).lastMessageId === lastMessageId,
        'an old ack moved the mark',
      );
      const mentioned = await client.mention(channelId, [userId], { messageId: message });
      assert(mentioned.applied === 1, 'a mention was not counted');
      assert((await client.get(userId, channelId))?.mentionCount === 1, 'a mention is missing');
      const acked = await client.ack(userId, channelId, message);
      assert(acked.lastMessageId === message && acked.mentionCount === 0, 'an ack did not clear');
    }
  } finally {
    client.close();
  }
}
