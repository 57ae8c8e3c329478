/** One number for all that many operations were answered: sides that differ in one answer differ in it. */
import { ENTRY, REPLY, REPLY_ENTRY } from '../engine/messages.js';
import { type Block, REPLY_STRIDE } from './engine-stream.js';

const FNV_PRIME = 16777619;

export class AnswerChecksum {
  #sum = 0;

  get value(): number {
    return this.#sum >>> 0;
  }

  /** Takes the status, the count and the message of each answer. Versions are left out: some sides count them by user. */
  take({ count, replies }: Block): void {
    for (let at = 0; at < count * REPLY_STRIDE; at += REPLY_STRIDE) {
      const head = replies[at + REPLY.HEAD]!;
      this.#add((head >>> 8) & 0xff);
      this.#add(replies[at + REPLY.MENTION_COUNT]!);
      if ((head & REPLY_ENTRY) === 0) continue;
      this.#add(replies[at + REPLY.WORDS + ENTRY.MESSAGE_LO]!);
      this.#add(replies[at + REPLY.WORDS + ENTRY.MESSAGE_HI]!);
    }
    this.#add(32 - Math.clz32(count));
  }

  #add(word: number): void {
    this.#sum = Math.imul(this.#sum ^ word, FNV_PRIME);
  }
}
