/**
 * A user that several connections write to at once. Their order is not known, so each entry has one use, and is checked
 * by intervals: what was answered before a read was sent must be in it, what was not yet sent when it was answered
 * must not.
 *
 * - `count` entries get mentions without an id: a count lies between those answered and those sent; each answered
 *   mention said another count; it never goes back.
 * - `mark` entries get acks, each of another message: the mark is at least the highest answered and at most the highest
 *   sent, and never goes back.
 * - `once` entries get mentions with ids, each id from several connections, and the next id only after all of those:
 *   the count is between the ids answered and the ids sent, and at most one answer for each id says that it counted.
 * - Versions: no two changes have the same; one sent after another was answered has the higher one; a list has all
 *   entries that changed with a version above `since`, as far as that is known.
 * All of it holds over kills: what was sent and not answered may have been done. What was refused was not.
 */
import type { Answer, Entry, Operation } from './operations.js';
import { keyName } from './operations.js';

export type Use = 'count' | 'mark' | 'once';

interface EntryTrack {
  readonly use: Use;
  /** Of mentions and acks that may have been done: how many there are of each message (of mentions without an id: 0). */
  readonly possible: Map<number, number>;
  /** Mentions or ids for certain counted; for marks: the highest message. */
  certain: number;
  /** Highest value and version that an answer showed. */
  seen: number;
  version: number;
  readonly counts: Set<number>;
  readonly appliedIds: Set<number>;
  readonly certainIds: Set<number>;
}

/** What was certain when an operation was sent. */
export interface SharedSent {
  readonly operation: Operation;
  readonly floors: Map<string, { value: number; version: number }>;
  readonly userVersion: number;
}

export class SharedUser {
  readonly entries = new Map<string, EntryTrack>();
  readonly #versions = new Set<number>();
  #userVersion = 0;

  constructor(
    readonly userId: number,
    readonly violate: (reason: string) => void,
  ) {}

  /** @param use  of the operation's entry; of a list none */
  sent(operation: Operation, use?: Use): SharedSent {
    if (use !== undefined && 'channel' in operation) {
      const { possible } = this.#entry(keyName(operation), use);
      if (operation.op === 'mention' || operation.op === 'ack')
        possible.set(operation.message, (possible.get(operation.message) ?? 0) + 1);
    }
    const floors = new Map<string, { value: number; version: number }>();
    for (const [name, entry] of this.entries)
      floors.set(name, { value: Math.max(entry.certain, entry.seen), version: entry.version });
    return { operation, floors, userVersion: this.#userVersion };
  }

  #entry(name: string, use: Use): EntryTrack {
    let entry = this.entries.get(name);
    if (entry === undefined) {
      entry = {
        use,
        possible: new Map(),
        certain: 0,
        seen: 0,
        version: 0,
        counts: new Set(),
        appliedIds: new Set(),
        certainIds: new Set(),
      };
      this.entries.set(name, entry);
    }
    return entry;
  }

  /** Nothing was done. */
  refused({ operation }: SharedSent): void {
    if (operation.op !== 'mention' && operation.op !== 'ack') return;
    const { possible } = this.entries.get(keyName(operation))!;
    const left = possible.get(operation.message)! - 1;
    if (left > 0) possible.set(operation.message, left);
    else possible.delete(operation.message);
  }

  answered(sent: SharedSent, answer: Answer): void {
    const { operation } = sent;
    if (operation.op === 'list') this.#list(sent, answer, operation.since ?? 0);
    else if (operation.op === 'mention') this.#mention(sent, operation, answer);
    else if (operation.op === 'ack' || operation.op === 'get') {
      const name = keyName(operation);
      const [entry] = answer.entries ?? [];
      if (entry !== undefined) this.#read(sent, entry);
      else if ((sent.floors.get(name)?.value ?? 0) > 0)
        this.violate(`${name} is unknown, and it was there before`);
      if (operation.op === 'ack' && answer.changed === true && entry !== undefined)
        this.#changed(sent, name, entry.version);
      const track = this.entries.get(name);
      if (operation.op === 'ack' && track !== undefined)
        track.certain = Math.max(track.certain, operation.message);
    }
  }

  /** A change that was answered with its version. */
  #changed(sent: SharedSent, name: string, version: number): void {
    if (this.#versions.has(version)) this.violate(`two changes have version ${version}`);
    this.#versions.add(version);
    if (version <= sent.userVersion)
      this.violate(`${name} changed with version ${version}, after ${sent.userVersion} had been answered`);
    const entry = this.entries.get(name)!;
    entry.version = Math.max(entry.version, version);
    this.#userVersion = Math.max(this.#userVersion, version);
  }

  #mention(sent: SharedSent, operation: Operation & { op: 'mention' }, answer: Answer): void {
    const name = keyName(operation);
    const entry = this.entries.get(name)!;
    const { status, count, version } = answer;
    const { message } = operation;
    if (status === 'suppressed') this.violate(`a mention in ${name}, which nobody acked, is suppressed`);
    if (entry.use === 'count') {
      if (status !== 'ok') this.violate(`a mention without an id in ${name} is answered ${status}`);
      entry.certain++;
      if (count !== undefined && entry.counts.has(count))
        this.violate(`two mentions in ${name} made the count ${count}`);
      if (count !== undefined) entry.counts.add(count);
    } else {
      if (status === 'ok' && entry.appliedIds.has(message))
        this.violate(`message ${message} was counted twice in ${name}`);
      if (status === 'ok') entry.appliedIds.add(message);
      entry.certainIds.add(message);
      entry.certain = entry.certainIds.size;
    }
    if (count !== undefined) this.#value(sent, name, entry, count);
    if (status === 'ok' && version !== undefined) this.#changed(sent, name, version);
  }

  #value(sent: SharedSent, name: string, entry: EntryTrack, value: number): void {
    const floor = sent.floors.get(name)?.value ?? 0;
    const most = mostOf(entry);
    if (value < floor || value > most)
      this.violate(`${name} (${entry.use}) is ${value}, expected ${floor} to ${most}`);
    entry.seen = Math.max(entry.seen, value);
  }

  #read(sent: SharedSent, shown: Entry): void {
    const name = keyName(shown);
    const entry = this.entries.get(name);
    if (entry === undefined) {
      this.violate(`${name} is there, and nothing was sent to it`);
      return;
    }
    this.#value(sent, name, entry, entry.use === 'mark' ? shown.message : shown.count);
    const version = sent.floors.get(name)?.version ?? 0;
    if (shown.version < version)
      this.violate(`${name} has version ${shown.version}, and ${version} was answered before`);
    entry.version = Math.max(entry.version, shown.version);
    this.#userVersion = Math.max(this.#userVersion, shown.version);
  }

  #list(sent: SharedSent, answer: Answer, since: number): void {
    const { entries = [], partial = false, version = 0 } = answer;
    const shown = new Set(entries.map(keyName));
    for (const entry of entries) {
      if (partial && entry.version <= since)
        this.violate(`${keyName(entry)} with version ${entry.version} is in the list since ${since}`);
      this.#read(sent, entry);
    }
    for (const [name, floor] of sent.floors) {
      const isDue = partial ? floor.version > since : floor.value > 0;
      if (isDue && !shown.has(name))
        this.violate(
          `${name} with version ${floor.version} is not in the list${partial ? ` since ${since}` : ''}`,
        );
    }
    if (version < sent.userVersion)
      this.violate(`the user's version is ${version}, and ${sent.userVersion} was answered before`);
    this.#userVersion = Math.max(this.#userVersion, version);
  }
}

/** The highest value that the entry can have. */
function mostOf({ use, possible }: EntryTrack): number {
  if (use === 'count') return possible.get(0) ?? 0;
  if (use === 'once') return possible.size;
  let highest = 0;
  for (const message of possible.keys()) highest = Math.max(highest, message);
  return highest;
}
