/**
 * What one user's read states must be, as a set of possible states. `step` runs one operation on one state: with its
 * answer it gives the states that this answer allows (none: the answer is wrong), without one the states that it may
 * have led to. States are immutable and share what did not change.
 *
 * Versions are followed and not foretold: a change whose answer said its version has it, any other has a least one,
 * and the order of changes, which the versions must keep.
 */
import type { Answer, BulkItem, Entry, Key, Operation } from './operations.js';
import { keyName } from './operations.js';

const COUNT_MAX = 2_147_483_647;

/** Messages whose mention was counted for a key, newest first. */
interface Counted {
  readonly message: number;
  readonly max: number;
  readonly next: Counted | undefined;
}

export interface KeyState extends Key {
  readonly exists: boolean;
  readonly message: number;
  readonly count: number;
  readonly flags: number;
  readonly viewed: number;
  readonly pin: number;
  /** 0: not known, and at least `versionMin`. */
  readonly version: number;
  readonly versionMin: number;
  /** Of the last change among all changes of the user. */
  readonly order: number;
  /** Message of the latest mention that had one. */
  readonly latest: number;
  readonly counted: Counted | undefined;
}

export interface UserState {
  readonly keys: ReadonlyMap<string, KeyState>;
  /** The user's version is this if `exact`, else at least this. */
  readonly version: number;
  readonly exact: boolean;
  readonly order: number;
  /** The last deletion has at least this version. */
  readonly deletedMin: number;
}

export const EMPTY: UserState = { keys: new Map(), version: 0, exact: false, order: 0, deletedMin: 0 };

/** Why an answer contradicts a state. */
export class Contradiction {
  constructor(readonly reason: string) {}
}

function need(condition: boolean, reason: () => string): void {
  if (!condition) throw new Contradiction(reason());
}

function absent(key: Key): KeyState {
  return {
    channel: key.channel,
    type: key.type,
    exists: false,
    message: 0,
    count: 0,
    flags: 0,
    viewed: -1,
    pin: 0,
    version: 0,
    versionMin: 0,
    order: 0,
    latest: 0,
    counted: undefined,
  };
}

function keyOf(state: UserState, key: Key): KeyState {
  return state.keys.get(keyName(key)) ?? absent(key);
}

function withKey(state: UserState, key: KeyState): UserState {
  const keys = new Map(state.keys);
  keys.set(keyName(key), key);
  return { ...state, keys };
}

/** One change: the key as it is after it, with the version that the answer says, or the next that there can be. */
function change(state: UserState, key: KeyState, version: number | undefined): UserState {
  if (version !== undefined) {
    need(
      version > state.version,
      () =>
        `${keyName(key)} changed with version ${version}, and the user's was ${state.version} before: it must be higher`,
    );
  }
  const versionMin = version ?? state.version + 1;
  const order = state.order + 1;
  const changed = withKey(state, { ...key, version: version ?? 0, versionMin, order });
  return { ...changed, order, version: versionMin, exact: version !== undefined };
}

function show(key: KeyState): string {
  if (!key.exists) return 'no entry';
  const { message, count, flags, viewed, pin, version, versionMin } = key;
  return `{message:${message},count:${count},flags:${flags},viewed:${viewed},pin:${pin},version:${version || `>=${versionMin}`}}`;
}

/** The key must look like this entry, whose version is then known. */
function observe(state: UserState, key: KeyState, entry: Entry): UserState {
  const isSame =
    key.exists &&
    key.message === entry.message &&
    key.count === entry.count &&
    key.flags === entry.flags &&
    key.viewed === entry.viewed &&
    key.pin === entry.pin &&
    (key.version === 0 ? entry.version >= key.versionMin : entry.version === key.version);
  need(isSame, () => `${keyName(key)} is ${show({ ...key, ...entry, exists: true })}, expected ${show(key)}`);
  if (key.version !== 0) return state;
  const learnt = withKey(state, { ...key, version: entry.version });
  if (entry.version <= state.version) return learnt;
  need(!state.exact, () => `${keyName(key)} has version ${entry.version}, the user ${state.version}`);
  return { ...learnt, version: entry.version };
}

function oneEntry(answer: Answer, key: Key): Entry {
  const { entries = [] } = answer;
  need(
    entries.length === 1 && keyName(entries[0]!) === keyName(key),
    () => `the answer has ${JSON.stringify(entries)}, and not one entry ${keyName(key)}`,
  );
  return entries[0]!;
}

/** The key as an ack leaves it; undefined: it changes nothing. */
function acked(key: KeyState, message: number, manual: boolean, fields: AckChange): KeyState | undefined {
  if (key.exists && !manual && message < key.message) return undefined;
  const after = {
    ...key,
    exists: true,
    message,
    count: fields.count ?? 0,
    flags: fields.flags ?? key.flags,
    viewed: fields.viewed ?? key.viewed,
  };
  const isSame =
    key.exists &&
    after.message === key.message &&
    after.count === key.count &&
    after.flags === key.flags &&
    after.viewed === key.viewed;
  return isSame ? undefined : after;
}

type AckChange = { count?: number; flags?: number; viewed?: number };

/** A change (or none) of one key whose answer is the entry after it. */
function applyEntry(
  state: UserState,
  key: KeyState,
  after: KeyState | undefined,
  entry: Entry | undefined,
): UserState {
  if (after === undefined) return entry === undefined ? state : observe(state, key, entry);
  const changed = change(state, after, entry?.version);
  return entry === undefined ? changed : observe(changed, keyOf(changed, after), entry);
}

function applyBulk(state: UserState, items: BulkItem[], answer: Answer | undefined): UserState {
  const entries = answer?.entries;
  if (answer !== undefined) {
    need(
      entries?.length === items.length,
      () => `${items.length} items are answered with ${entries?.length} entries`,
    );
  }
  items.forEach((item, index) => {
    const key = keyOf(state, item);
    const entry = entries?.[index];
    if (entry !== undefined)
      need(keyName(entry) === keyName(item), () => `item ${index} is answered with ${keyName(entry)}`);
    state = applyEntry(state, key, acked(key, item.message, false, {}), entry);
  });
  return state;
}

function wasCounted(counted: Counted | undefined, message: number): boolean {
  if (counted === undefined || message > counted.max) return false;
  for (let node: Counted | undefined = counted; node !== undefined; node = node.next) {
    if (node.message === message) return true;
  }
  return false;
}

/** What a mention may be answered with. More than one: it was counted before, and the service may or may not remember. */
function mentionStatuses(key: KeyState, message: number): Answer['status'][] {
  if (message === 0) return ['ok'];
  if (key.exists && key.message >= message) return ['suppressed'];
  if (key.exists && key.latest === message) return ['duplicate'];
  return wasCounted(key.counted, message) ? ['ok', 'duplicate'] : ['ok'];
}

function applyMention(
  state: UserState,
  key: KeyState,
  message: number,
  status: Answer['status'],
  answer: Answer | undefined,
): UserState {
  if (status === 'ok') {
    const { counted } = key;
    const after: KeyState = {
      ...key,
      exists: true,
      count: Math.min(key.count + 1, COUNT_MAX),
      latest: message === 0 ? key.latest : message,
      counted:
        message === 0 ? counted : { message, max: Math.max(message, counted?.max ?? 0), next: counted },
    };
    if (answer?.count !== undefined)
      need(
        answer.count === after.count,
        () => `${keyName(key)} has ${answer.count} mentions, expected ${after.count}`,
      );
    return change(state, after, answer?.version);
  }
  if (!key.exists || answer?.count === undefined || answer.version === undefined) return state;
  return observe(state, key, { ...key, count: answer.count, version: answer.version });
}

function existing(state: UserState): KeyState[] {
  return [...state.keys.values()].filter((key) => key.exists);
}

/** The user's version, said by an answer that came after everything in `state`. */
function observeVersion(state: UserState, version: number, mustEqual: boolean): UserState {
  need(
    version >= state.version && !(mustEqual && state.exact && version !== state.version),
    () => `the user's version is ${version}, expected ${state.exact ? '' : 'at least '}${state.version}`,
  );
  return state.exact && state.version === version ? state : { ...state, version, exact: true };
}

function applyDelete(state: UserState, key: KeyState, answer: Answer | undefined): UserState {
  if (!key.exists) {
    if (answer?.version === undefined) return answer === undefined ? state : { ...state, exact: false };
    return observeVersion(state, answer.version, false);
  }
  const gone = { ...absent(key), counted: key.counted };
  const deleted = change(state, gone, answer?.version);
  return { ...deleted, deletedMin: deleted.version };
}

function applyDeleteUser(state: UserState, answer: Answer | undefined): UserState {
  const live = existing(state);
  if (live.length === 0) {
    if (answer?.version !== undefined) return observeVersion(state, answer.version, false);
    return state.exact ? { ...state, exact: false } : state;
  }
  const version = answer?.version;
  if (version !== undefined)
    need(
      version > state.version,
      () => `the user was deleted with version ${version}, after ${state.version}`,
    );
  const keys = new Map(state.keys);
  for (const key of live) keys.set(keyName(key), { ...absent(key), counted: key.counted });
  const floor = version ?? state.version + 1;
  return {
    keys,
    version: floor,
    exact: version !== undefined,
    order: state.order + 1,
    deletedMin: floor,
  };
}

function compareKeys(a: Key, b: Key): number {
  return a.channel === b.channel ? a.type - b.type : a.channel - b.channel;
}

function applyList(state: UserState, since: number | undefined, answer: Answer | undefined): UserState {
  if (answer === undefined) return state;
  const { entries = [], partial = false, version = 0 } = answer;
  for (let i = 1; i < entries.length; i++)
    need(compareKeys(entries[i - 1]!, entries[i]!) < 0, () => `a list out of order: ${keyName(entries[i]!)}`);
  if (partial) {
    need(since !== undefined, () => 'a list without since is partial');
    need(
      state.deletedMin <= since!,
      () =>
        `a list since ${since} is partial, and something was deleted with version ${state.deletedMin} or later`,
    );
    need(
      !(state.exact && since! > state.version),
      () => `a list since ${since} is partial, and the user's version is ${state.version}`,
    );
  }
  const shown = new Map(entries.map((entry) => [keyName(entry), entry]));
  for (const key of existing(state)) {
    const entry = shown.get(keyName(key));
    const least = key.version === 0 ? key.versionMin : key.version;
    if (entry === undefined) {
      need(
        partial && (key.version === 0 ? key.versionMin : key.version) <= since!,
        () => `${keyName(key)} is not in the list${partial ? ` since ${since}` : ''}, expected ${show(key)}`,
      );
      continue;
    }
    need(
      !partial || entry.version > since!,
      () => `${keyName(key)} with version ${least} is in the list since ${since}`,
    );
    shown.delete(keyName(key));
    state = observe(state, keyOf(state, key), entry);
  }
  for (const entry of shown.values())
    need(
      false,
      () =>
        `${keyName(entry)} is in the list as ${show({ ...absent(entry), ...entry, exists: true })}, expected no entry`,
    );
  state = observeVersion(state, version, true);
  // Changes of unknown version are known now: they must be in order, and not above the user's.
  let before = 0;
  for (const key of existing(state).sort((a, b) => a.order - b.order)) {
    if (key.version === 0) continue;
    need(
      key.version > before && key.version <= version,
      () =>
        `${keyName(key)} changed last of those before and has version ${key.version}, after ${before}; the user has ${version}`,
    );
    before = key.version;
  }
  return state;
}

function applyBadge(state: UserState, answer: Answer | undefined): UserState {
  if (answer === undefined) return state;
  const counts = existing(state)
    .map(({ count }) => count)
    .filter((count) => count > 0);
  const sum = Math.min(
    counts.reduce((total, count) => total + count, 0),
    COUNT_MAX,
  );
  need(
    answer.count === sum && answer.mentioned === counts.length,
    () =>
      `the badge says ${answer.count} mentions in ${answer.mentioned} entries, expected ${sum} in ${counts.length}`,
  );
  return state;
}

function applyGet(state: UserState, key: KeyState, answer: Answer | undefined): UserState {
  if (answer === undefined) return state;
  if (answer.status === 'unknown') {
    need(!key.exists, () => `${keyName(key)} is unknown, expected ${show(key)}`);
    return state;
  }
  return observe(state, key, oneEntry(answer, key));
}

/**
 * @param answer  undefined: there was none
 * @returns the states after it. Without an answer: those it may have led to if it took effect
 * @throws Contradiction when the answer is wrong for this state
 */
export function step(state: UserState, operation: Operation, answer: Answer | undefined): UserState[] {
  if (operation.op === 'mention') {
    const key = keyOf(state, operation);
    const possible = mentionStatuses(key, operation.message);
    const statuses = answer === undefined ? possible : [answer.status];
    for (const status of statuses)
      need(possible.includes(status), () => {
        const of = show(key);
        return `a mention of message ${operation.message} in ${keyName(key)} was answered ${status}, expected ${possible.join(' or ')}: ${of}`;
      });
    if (answer?.changed !== undefined) checkChanged(answer.changed, answer.status === 'ok');
    return statuses.map((status) => applyMention(state, key, operation.message, status, answer));
  }
  const after = stepOne(state, operation, answer);
  if (answer?.changed !== undefined && operation.op !== 'list')
    checkChanged(answer.changed, after.order !== state.order);
  return [after];
}

function checkChanged(said: boolean, did: boolean): void {
  need(
    said === did,
    () =>
      `the answer says that ${said ? 'something' : 'nothing'} changed, expected ${did ? 'something' : 'nothing'}`,
  );
}

function stepOne(
  state: UserState,
  operation: Exclude<Operation, { op: 'mention' }>,
  answer: Answer | undefined,
): UserState {
  switch (operation.op) {
    case 'ack': {
      const key = keyOf(state, operation);
      const entry = answer === undefined ? undefined : oneEntry(answer, operation);
      return applyEntry(state, key, acked(key, operation.message, operation.manual, operation), entry);
    }
    case 'ack_bulk':
      return applyBulk(state, operation.items, answer);
    case 'pin_ack': {
      const key = keyOf(state, operation);
      const entry = answer === undefined ? undefined : oneEntry(answer, operation);
      const moves = !key.exists || operation.pin > key.pin;
      return applyEntry(state, key, moves ? { ...key, exists: true, pin: operation.pin } : undefined, entry);
    }
    case 'get':
      return applyGet(state, keyOf(state, operation), answer);
    case 'list':
      return applyList(state, operation.since, answer);
    case 'badge':
      return applyBadge(state, answer);
    case 'delete':
      return applyDelete(state, keyOf(state, operation), answer);
    case 'delete_user':
      return applyDeleteUser(state, answer);
  }
}
