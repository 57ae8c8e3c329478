/**
 * What the service should hold after a replay: the operations applied to a plain Map, by the rules of the API and
 * by nothing of the product's code.
 */
import type { ReadState } from '../gateway/client/index.js';
import type { Operation } from './reader-model.js';

interface ExpectedEntry {
  mark: bigint;
  mentions: number;
  latestMention: bigint;
}

export class ExpectedState {
  readonly users = new Map<string, Map<string, ExpectedEntry>>();
  /** Mentions of those who had read the message already. */
  suppressed = 0;
  duplicates = 0;

  /** @returns whether it changed an entry */
  apply(operation: Operation): boolean {
    let channels = this.users.get(operation.userId);
    if (channels === undefined) {
      channels = new Map();
      this.users.set(operation.userId, channels);
    }
    if (operation.kind === 'list') return false;
    const message = BigInt(operation.messageId);
    const entry = channels.get(operation.channelId) ?? { mark: 0n, mentions: 0, latestMention: 0n };
    if (operation.kind === 'ack') {
      if (!operation.manual && message < entry.mark) return false;
      const mentions = operation.mentionCount ?? 0;
      if (entry.mark === message && entry.mentions === mentions) return false;
      entry.mark = message;
      entry.mentions = mentions;
    } else if (entry.mark >= message) {
      this.suppressed++;
      return false;
    } else if (entry.latestMention === message) {
      this.duplicates++;
      return false;
    } else {
      entry.mentions++;
      entry.latestMention = message;
    }
    channels.set(operation.channelId, entry);
    return true;
  }

  get entryCount(): number {
    let count = 0;
    for (const channels of this.users.values()) count += channels.size;
    return count;
  }

  /** How what a user was listed with differs from what it should be: one line for each difference. */
  compare(userId: string, listed: readonly ReadState[]): string[] {
    const expected = new Map(this.users.get(userId));
    const differences: string[] = [];
    for (const { channelId, type, lastMessageId, mentionCount } of listed) {
      const entry = type === 0 ? expected.get(channelId) : undefined;
      const where = `user ${userId} channel ${channelId}`;
      if (entry === undefined) {
        differences.push(`${where}${type === 0 ? '' : ` type ${type}`}: listed, and should not be there`);
        continue;
      }
      expected.delete(channelId);
      const mark = entry.mark === 0n ? null : String(entry.mark);
      if (mark !== lastMessageId) differences.push(`${where}: mark ${lastMessageId}, should be ${mark}`);
      if (entry.mentions !== mentionCount)
        differences.push(`${where}: ${mentionCount} mentions, should be ${entry.mentions}`);
    }
    for (const channelId of expected.keys())
      differences.push(`user ${userId} channel ${channelId}: is missing`);
    return differences;
  }
}
