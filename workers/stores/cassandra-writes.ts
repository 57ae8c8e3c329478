/**
 * One group of writes as requests of one partition, each of which replicas apply whole or not at all.
 *
 * A group of more than BATCH_ROWS rows is several requests, one after the other: first the wipe and the user's
 * versions with the first rows, then the rest. A process that is killed in between leaves what a kill before the
 * flush of the rest would have left: no row is newer than the user's version, and nothing is back that was wiped.
 * The journal has the rest, and replays the whole. If a request fails, the whole group is written again later.
 */
import { META_DELETED, META_STORED, META_TYPE_MASK } from '../../engine/layout.js';
import { ENTRY, ROW } from '../../engine/messages.js';
import { isRefusal, reasonOf } from './cassandra-client.js';
import {
  type Long,
  longOf,
  routingKeyOf,
  rowStatement,
  type Statement,
  staticsStatement,
  type Texts,
  wipeStatement,
} from './cassandra-rows.js';
import { GroupRefused, type WriteGroup } from './store.js';

/**
 * Rows in one request. Cassandra 5.0 counts 204 bytes a row and warns of batches of more than 5 KiB; 24 rows with the
 * statics and a wipe are below. (It does not look at batches of one partition, as all of these are: no warning was
 * seen at 200 rows. Other servers may.)
 */
const BATCH_ROWS = 24;

/**
 * Requests that may be refused while the refused rows of a group are looked for; one of 24 rows takes 6. When more
 * are, the rest of the group counts as refused: otherwise a table that is gone would cost two requests a row.
 */
const REFUSALS_MAX = 16;

/** Sends statements as one request with the timestamp. Rejects with the driver's error. */
export type SendStatements = (
  statements: readonly Statement[],
  timestamp: Long,
  routingKey: Buffer,
) => Promise<void>;

/**
 * Writes a group. Never rejects.
 * @param name  of the store, for messages
 * @returns null, or why not: GroupRefused when it is about the group itself, of which all else is written then
 */
export function writeGroup(
  group: WriteGroup,
  name: string,
  texts: Texts,
  send: SendStatements,
): Promise<Error | null> {
  return new GroupWrite(group, name, texts, send).run();
}

class GroupWrite {
  readonly #group: WriteGroup;
  readonly #name: string;
  readonly #texts: Texts;
  readonly #sendStatements: SendStatements;
  readonly #user: Long;
  readonly #clock: Long;
  readonly #routingKey: Buffer;
  /** Where the rows are that need a statement: not the deletion of what the store cannot have. */
  readonly #rowsAt: readonly number[];
  #refusals = 0;
  /** The first row that was refused, or whatever else was. */
  #refused: GroupRefused | null = null;

  constructor(group: WriteGroup, name: string, texts: Texts, send: SendStatements) {
    this.#group = group;
    this.#name = name;
    this.#texts = texts;
    this.#sendStatements = send;
    this.#user = longOf(group.userLo, group.userHi);
    this.#clock = longOf(group.clockLo, group.clockHi);
    this.#routingKey = routingKeyOf(group.userLo, group.userHi);
    const rowsAt: number[] = [];
    for (let at = 0; at < group.count * ROW.WORDS; at += ROW.WORDS) {
      if ((group.rows[at + ENTRY.META]! & (META_DELETED | META_STORED)) !== META_DELETED) rowsAt.push(at);
    }
    this.#rowsAt = rowsAt;
  }

  async run(): Promise<Error | null> {
    const count = this.#rowsAt.length;
    try {
      for (let from = 0; from === 0 || from < count; from += BATCH_ROWS) {
        await this.#write(from, Math.min(from + BATCH_ROWS, count), from === 0);
      }
    } catch (error) {
      return new Error(`cannot write to the store ${this.#name}: ${reasonOf(error)}`);
    }
    return this.#refused;
  }

  /**
   * Writes rows, with what comes before all rows if it `isFirst`; halves them when they are refused, until the row
   * is alone of which that is true. @throws the driver's error for what is not a refusal
   */
  async #write(from: number, to: number, isFirst: boolean): Promise<void> {
    if (this.#refusals >= REFUSALS_MAX) return;
    try {
      await this.#send(from, to, isFirst);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      this.#refusals++;
      if (to - from > 1) {
        const middle = (from + to) >> 1;
        await this.#write(from, middle, isFirst);
        await this.#write(middle, to, false);
      } else {
        this.#refused ??= this.#refusal(from, to, reasonOf(error));
        if (isFirst && to > from) await this.#write(from, from, true); // at least what is not of the row
      }
    }
  }

  async #send(from: number, to: number, isFirst: boolean): Promise<void> {
    const statements = this.#statements(from, to, isFirst);
    if (statements.length > 0) await this.#sendStatements(statements, this.#clock, this.#routingKey);
  }

  #statements(from: number, to: number, isFirst: boolean): Statement[] {
    const group = this.#group;
    const { rows } = group;
    const statements: Statement[] = [];
    if (isFirst && group.wipe) statements.push(wipeStatement(this.#texts, this.#user, this.#clock));
    let withStatics = isFirst; // an insert can carry them: nothing of its own is needed then
    for (let i = from; i < to; i++) {
      const at = this.#rowsAt[i]!;
      const isDeletion = (rows[at + ENTRY.META]! & META_DELETED) !== 0;
      const statics = withStatics && !isDeletion ? group : null;
      if (statics !== null) withStatics = false;
      statements.push(rowStatement(this.#texts, this.#user, rows, at, statics));
    }
    if (withStatics) statements.push(staticsStatement(this.#texts, this.#user, group));
    return statements;
  }

  #refusal(from: number, to: number, reason: string): GroupRefused {
    const { rows } = this.#group;
    const at = this.#rowsAt[from] ?? 0;
    const channel = (): string =>
      longOf(rows[at + ENTRY.CHANNEL_LO]!, rows[at + ENTRY.CHANNEL_HI]!).toString();
    const row = to > from ? `, channel ${channel()}, type ${rows[at + ENTRY.META]! & META_TYPE_MASK}` : '';
    const what = to > from ? 'a row' : 'the versions';
    return new GroupRefused(`the store ${this.#name} refuses ${what} of user ${this.#user}${row}: ${reason}`);
  }
}
