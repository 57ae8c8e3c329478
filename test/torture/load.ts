/**
 * Puts the load of the torture test on a service, and tells the checker of each operation and answer. Lives as long as
 * the run; connections come and go with the service.
 */
import { sleep, yieldToEvents } from '../../bench/clock.js';
import { Checker, type UserTrack } from './checker.js';
import { BinaryConnection, type Connection, HttpConnection, type Outcome } from './connection.js';
import { describe, type Operation } from './operations.js';
import { SharedUser } from './shared-user.js';
import { type SharedPlan, Workload } from './workload.js';

export interface LoadOptions {
  seed: number;
  users: number;
  /** About half as many as a user has on average. */
  channels: number;
  /** WebSockets with binary frames, and HTTP connections. */
  sockets: number;
  httpSockets: number;
  /** Operations in flight on one WebSocket, and of one user. */
  inFlightMax: number;
  pipelineMax: number;
  sharedUsers: number;
  /**
   * Users that have connections of their own (every other one) and are meant to stay in memory, while the rest come
   * and go. 0: there is no such difference.
   */
  residents: number;
}

export const LOAD_DEFAULTS: LoadOptions = {
  seed: 1,
  users: 400,
  channels: 12,
  sockets: 4,
  httpSockets: 2,
  inFlightMax: 256,
  pipelineMax: 24,
  sharedUsers: 4,
  residents: 0,
};

/** One in ten users gets this share of the operations. */
const HOT_SHARE = 0.6;
const BURST_MAX = 10;
const BIG_BURST = 2000;
const LIST_WAIT_MS = 120_000;
const IN_ROW = 5;
/** In flight on a connection of those who are not resident: a store that is slow is not to be flooded. */
const OTHERS_IN_FLIGHT_MAX = 32;

interface Shared {
  readonly plan: SharedPlan;
  readonly track: UserTrack;
  readonly checks: SharedUser;
  versions: number[];
  /** Of the current id of the `once` entry: on their way, and answered at least once. */
  onceInFlight: number;
  onceAnswered: boolean;
}

export class Load {
  readonly checker = new Checker();
  readonly #options: LoadOptions;
  readonly #workload: Workload;
  readonly #userIds: number[];
  readonly #residents: Set<number>;
  readonly #writers: Set<number>;
  readonly #shared: Shared[];
  readonly #owner = new Map<UserTrack, Connection>();
  #connections: Connection[] = [];
  #running = false;
  #drivers: Promise<void>[] = [];
  /**
   * Residents must not be refused, and their answers are timed. Of the others, only as many as there are residents are
   * written to meanwhile: when a store is away for long and all in memory is unsaved, there is no room for anybody's
   * new entries.
   */
  residentsMustHit = false;
  /** Of residents, from sending to answer, in ms. */
  readonly residentMs: number[] = [];

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#workload = new Workload(options.seed, options.channels);
    const { random } = this.#workload;
    // A store may keep the users of other runs: these are others.
    const first = 1 + random.below(2 ** 30) * 2 ** 20 + (Date.now() % 2 ** 20);
    this.#userIds = Array.from({ length: options.users }, (_, i) => first + i * 4099);
    this.#residents = new Set(this.#userIds.slice(0, options.residents));
    this.#writers = new Set(this.#userIds.slice(0, 2 * options.residents));
    this.#shared = Array.from({ length: options.sharedUsers }, (_, i) => {
      const userId = first + 7 + i * 1021;
      const track = this.checker.user(userId);
      const checks = new SharedUser(userId, (reason) => this.checker.violate(track, reason));
      return {
        plan: { userId, message: 1 },
        track,
        checks,
        versions: [],
        onceInFlight: 0,
        onceAnswered: false,
      };
    });
  }

  /** Whom the load is about, but for those who are shared. */
  get userIds(): readonly number[] {
    return this.#userIds;
  }

  get connected(): boolean {
    return this.#connections.length > 0 && this.#connections.every(({ isLost }) => !isLost);
  }

  /** Opens the connections. @returns false when the service is gone */
  async connect(url: URL): Promise<boolean> {
    const { sockets, httpSockets } = this.#options;
    for (let i = 0; i < sockets + httpSockets; i++) {
      const connection = await (i < sockets
        ? BinaryConnection.open(url, `ws${i}`)
        : HttpConnection.open(url, `http${i - sockets}`));
      if (connection === undefined) return false;
      this.#connections.push(connection);
    }
    return true;
  }

  /** Load until `stop` or the connections are lost. */
  start(): void {
    this.#running = true;
    this.#drivers = this.#connections.map((connection) => this.#drive(connection));
  }

  /** No more is sent. What is in flight stays so. */
  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#drivers);
    this.#drivers = [];
  }

  /** Waits until everything is answered. @returns false when the service is gone */
  async drain(): Promise<boolean> {
    const endMs = performance.now() + LIST_WAIT_MS;
    while (this.connected && this.#connections.some(({ inFlight }) => inFlight > 0)) {
      if (performance.now() > endMs) throw new Error(`no answers within ${LIST_WAIT_MS} ms`);
      await sleep(2);
    }
    return this.connected;
  }

  /** Sends a great many at once, over the WebSockets. */
  burst(): void {
    for (let i = 0; i < BIG_BURST; i++) {
      const { random } = this.#workload;
      this.#sendSome(this.#connections[random.below(this.#options.sockets)]!, 1);
    }
  }

  /** The service is gone: waits for what it had answered, and closes the connections. */
  async lose(how: string): Promise<void> {
    await this.stop();
    const endMs = performance.now() + 5000;
    while (this.#connections.some((connection) => !connection.isLost && connection.inFlight > 0)) {
      if (performance.now() > endMs) break;
      await sleep(1);
    }
    for (const connection of this.#connections) connection.close();
    await yieldToEvents();
    this.#connections = [];
    this.#owner.clear();
    for (const shared of this.#shared) shared.onceInFlight = 0;
    this.checker.lost(how);
  }

  /** What a caller does after a lost connection: mentions with ids, sent again in their order; some acks, too. */
  async retryLost(): Promise<void> {
    const { random } = this.#workload;
    for (const track of this.checker.users.values()) {
      const { lost } = track;
      track.lost = [];
      if (!this.#mayDrive(track) || random.below(10) < 2) continue;
      const again = lost.filter(
        (operation) =>
          (operation.op === 'mention' && operation.message > 0) ||
          (operation.op === 'ack' && !operation.manual && random.below(2) === 0),
      );
      const connection = this.#connections[random.below(this.#options.sockets)]!;
      for (const operation of again) this.#send(connection, track, operation);
      while (connection.inFlight > 1000 && !connection.isLost) await sleep(1);
    }
  }

  /** Lists the residents, so that all of each is in memory. */
  async makeResident(): Promise<void> {
    for (const userId of this.#userIds.slice(0, this.#options.residents))
      await this.#listUntilAnswered(this.#connections[0]!, this.checker.user(userId));
    await this.drain();
  }

  /**
   * Waits until misses are answered again: some in a row, of users that are no residents.
   * @returns of how many requests that took
   */
  async untilAnswered(timeoutMs: number): Promise<number> {
    const endMs = performance.now() + timeoutMs;
    const connection = this.#connections.find(({ isPipelined }) => !isPipelined) ?? this.#connections[0]!;
    const others = this.#userIds.slice(2 * this.#options.residents);
    for (let asked = 0, inRow = 0; ; ) {
      const userId = others[asked++ % others.length]!;
      const outcome = await new Promise<Outcome>((resolve) => {
        connection.send(userId, { op: 'badge' }, resolve);
      });
      inRow = outcome !== 'lost' && 'answer' in outcome ? inRow + 1 : 0;
      if (inRow === IN_ROW) return asked;
      if (performance.now() > endMs)
        throw new Error(`after ${timeoutMs} ms misses end with ${JSON.stringify(outcome)}`);
      if (inRow === 0) await sleep(20);
    }
  }

  /** Lists every user, and waits for the answers. @returns false when the service is gone */
  async verifyAll(): Promise<boolean> {
    const shared = new Set(this.#shared.map(({ track }) => track));
    let next = 0;
    for (const track of this.checker.users.values()) {
      if (shared.has(track)) continue;
      const connection = this.#owner.get(track) ?? this.#connections[next++ % this.#options.sockets];
      if (connection === undefined || connection.isLost) return false;
      await this.#listUntilAnswered(connection, track);
    }
    for (const one of this.#shared) {
      if (this.#connections.length > 0) this.#sendShared(this.#connections[0]!, one, { op: 'list' });
    }
    return this.drain();
  }

  async #listUntilAnswered(connection: Connection, track: UserTrack): Promise<void> {
    while (connection.inFlight >= 64 && !connection.isLost) await sleep(1);
    let tries = 0;
    const list = (): void =>
      this.#send(connection, track, { op: 'list' }, (code) => {
        if (++tries > 500)
          throw new Error(`a list of user ${track.userId} is refused again and again: ${code}`);
        setTimeout(list, 20);
      });
    list();
  }

  async #drive(connection: Connection): Promise<void> {
    const { random } = this.#workload;
    const { residents, inFlightMax } = this.#options;
    const isForOthers = residents > 0 && !this.#isForResidents(connection);
    const most = connection.isPipelined ? (isForOthers ? OTHERS_IN_FLIGHT_MAX : inFlightMax) : 1;
    while (this.#running && !connection.isLost) {
      if (connection.inFlight < most) this.#sendSome(connection, 1 + random.below(BURST_MAX));
      await (random.below(8) === 0 ? sleep(1) : yieldToEvents());
    }
  }

  #mayDrive(track: UserTrack): boolean {
    return track.pending.length === 0 && !this.#shared.some((shared) => shared.track === track);
  }

  #isForResidents(connection: Connection): boolean {
    return this.#connections.indexOf(connection) % 2 === 0;
  }

  #pick(connection: Connection): UserTrack | undefined {
    const { random } = this.#workload;
    const { users, pipelineMax, residents } = this.#options;
    for (let tries = 0; tries < 8; tries++) {
      let index = random.below(random.fraction() < HOT_SHARE ? Math.ceil(users / 10) : users);
      if (residents > 0) {
        index = this.#isForResidents(connection)
          ? random.below(residents)
          : residents + random.below(users - residents);
      }
      const track = this.checker.user(this.#userIds[index]!);
      if (track.pending.length === 0) return track;
      if (
        connection.isPipelined &&
        this.#owner.get(track) === connection &&
        track.pending.length < pipelineMax
      )
        return track;
    }
    return undefined;
  }

  #sendSome(connection: Connection, count: number): void {
    const { random } = this.#workload;
    if (this.#shared.length > 0 && random.below(30) === 0) {
      const shared = this.#shared[random.below(this.#shared.length)]!;
      this.#sendShared(connection, shared);
      return;
    }
    const track = this.#pick(connection);
    if (track === undefined) return;
    const { pipelineMax } = this.#options;
    const room = connection.isPipelined ? pipelineMax - track.pending.length : 1;
    const onlyReads = this.residentsMustHit && !this.#writers.has(track.userId);
    for (let i = 0; i < Math.min(count, room); i++)
      this.#send(connection, track, this.#workload.next(track.userId, track.seenVersions, onlyReads));
  }

  #send(
    connection: Connection,
    track: UserTrack,
    operation: Operation,
    onRefused?: (code: string) => void,
  ): void {
    this.#owner.set(track, connection);
    const sent = this.checker.sent(track, operation, connection.name);
    const mustHit = this.residentsMustHit && this.#residents.has(track.userId);
    const sentMs = performance.now();
    connection.send(track.userId, operation, (outcome) => {
      if (outcome === 'lost') return;
      if (mustHit) this.residentMs.push(performance.now() - sentMs);
      if ('answer' in outcome) this.checker.answered(sent, outcome.answer);
      else if ('refused' in outcome) {
        this.checker.refused(sent, outcome.refused);
        if (mustHit)
          this.checker.violate(
            track,
            `${describe(operation)} is refused with ${outcome.refused}, and all of the user is in memory`,
          );
        onRefused?.(outcome.refused);
      } else this.checker.violate(track, `${describe(operation)} failed: ${outcome.failed}`);
    });
  }

  #sendShared(connection: Connection, shared: Shared, given?: Operation): void {
    const { checks, plan, track } = shared;
    const { random } = this.#workload;
    if (shared.onceInFlight === 0 && shared.onceAnswered && random.below(3) === 0) {
      plan.message++;
      shared.onceAnswered = false;
    }
    const [operation, use] =
      given === undefined ? this.#workload.nextShared(plan, shared.versions) : [given, undefined];
    const isOnce = use === 'once' && operation.op === 'mention';
    if (isOnce) shared.onceInFlight++;
    const sent = checks.sent(operation, use);
    connection.send(plan.userId, operation, (outcome) => {
      if (isOnce && outcome !== 'lost') shared.onceInFlight--;
      track.log(`${connection.name} ${JSON.stringify(operation)} -> ${JSON.stringify(outcome)}`);
      if (outcome === 'lost') return;
      if ('refused' in outcome) {
        checks.refused(sent);
        return;
      }
      if ('failed' in outcome) {
        this.checker.violate(track, `${describe(operation)} failed: ${outcome.failed}`);
        return;
      }
      if (isOnce) shared.onceAnswered = true;
      this.checker.answeredCount++;
      checks.answered(sent, outcome.answer);
      if (operation.op === 'list')
        shared.versions = [...shared.versions.slice(-8), outcome.answer.version ?? 0];
    });
  }
}
