/**
 * A request that becomes one operation for each of its users: a mention, a subscription.
 *
 * I1  At most WINDOW operations are in the rings at once, so that the largest request neither fills a ring nor
 *     keeps others waiting. The next ones follow as answers come.
 * I2  REQUEST_ID is the position of the user, so the answer says whose it is.
 */
import { formatId } from '../engine/ids.js';
import {
  REPLY,
  REQUEST,
  STATUS_BUSY,
  STATUS_DUPLICATE,
  STATUS_OK,
  STATUS_SUPPRESSED,
} from '../engine/messages.js';
import { type Call, type Caller, statusOf } from './operation-call.js';
import type { Submitter } from './submitter.js';

const WINDOW = 256;

/** What the answers amount to. */
export interface FanOutResult {
  applied: number;
  suppressed: number;
  duplicates: number;
  /** Positions of the users that were answered with an error. */
  failed: number[];
  /** How many of these did not fit into a ring. */
  unsent: number;
  /** Status of the last error. */
  failedStatus: number;
}

export class FanOut implements Call {
  readonly #submitter: Submitter;
  readonly #template: Int32Array;
  readonly #users: Int32Array;
  readonly #onSubmitted: () => void;
  readonly #onDone: (result: FanOutResult) => void;
  readonly #result: FanOutResult = {
    applied: 0,
    suppressed: 0,
    duplicates: 0,
    failed: [],
    unsent: 0,
    failedStatus: STATUS_OK,
  };
  readonly #count: number;
  #next = 0;
  #inFlight = 0;
  #route = 0;
  readonly #wanted: () => boolean;

  /**
   * @param template     REQUEST words; copied
   * @param users        (low, high) pairs
   * @param wanted       false ends the request early: no more operations are sent
   * @param onSubmitted  the last operation is in a ring: what comes after stays behind
   */
  constructor(
    submitter: Submitter,
    template: Int32Array,
    users: Int32Array,
    wanted: () => boolean,
    onSubmitted: () => void,
    onDone: (result: FanOutResult) => void,
  ) {
    this.#submitter = submitter;
    this.#template = template.slice(0, REQUEST.WORDS);
    this.#users = users;
    this.#count = users.length / 2;
    this.#wanted = wanted;
    this.#onSubmitted = onSubmitted;
    this.#onDone = onDone;
  }

  /** @returns true when it is done already: no operation could be sent */
  start(route: number): boolean {
    this.#route = route;
    return this.#proceed();
  }

  answer(words: Int32Array, at: number): boolean {
    this.#inFlight--;
    const status = statusOf(words[at + REPLY.HEAD]!);
    if (status === STATUS_OK) this.#result.applied++;
    else if (status === STATUS_SUPPRESSED) this.#result.suppressed++;
    else if (status === STATUS_DUPLICATE) this.#result.duplicates++;
    else this.#fail(words[at + REPLY.REQUEST_ID]!, status);
    return this.#proceed();
  }

  #proceed(): boolean {
    if (this.#next < this.#count) {
      if (!this.#wanted()) this.#next = this.#count;
      const template = this.#template;
      while (this.#next < this.#count && this.#inFlight < WINDOW) {
        const position = this.#next++;
        template[REQUEST.REQUEST_ID] = position;
        template[REQUEST.USER_LO] = this.#users[position * 2]!;
        template[REQUEST.USER_HI] = this.#users[position * 2 + 1]!;
        if (this.#submitter.submit(this.#route, template, 0, REQUEST.WORDS)) this.#inFlight++;
        else {
          this.#result.unsent++;
          this.#fail(position, STATUS_BUSY);
        }
      }
      this.#submitter.publishSoon();
      if (this.#next === this.#count) this.#onSubmitted();
    }
    if (this.#inFlight > 0) return false;
    this.#onDone(this.#result);
    return true;
  }

  #fail(position: number, status: number): void {
    this.#result.failed.push(position);
    this.#result.failedStatus = status;
  }
}

/** Answers a mention. @param users  the pairs that the fan-out was given */
export function answerMention(caller: Caller, users: Int32Array, result: FanOutResult): void {
  const { applied, suppressed, duplicates } = result;
  const failed = result.failed.sort((a, b) => a - b).map((i) => formatId(users[i * 2]!, users[i * 2 + 1]!));
  caller.ok(Buffer.from(JSON.stringify({ applied, suppressed, duplicates, failed }), 'latin1'));
}
