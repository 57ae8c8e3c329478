/**
 * All subscriptions of a client: who holds which users, and what the service and the holders hear of it.
 *
 * A user is subscribed to on the service as long as somebody holds it. After a lost connection each held user is
 * subscribed to again on its own, so one that is refused (busy) keeps nobody else waiting; it is asked for again, with a growing
 * pause. The holders hear of a user's gap when the service has confirmed it, as what changes after that comes as an event, and
 * before the first event behind the gap: the version of that would hide what was missed from who lists since the last one.
 */
import { type ChangeEvent, encodeSubscribe, encodeUnsubscribe } from './codec.js';
import { TidemarkError } from './errors.js';
import type { Session } from './session.js';
import { type Listener, Subscription } from './subscription.js';

const AGAIN_MIN_MS = 500;
const AGAIN_MAX_MS = 30_000;

export class Subscriptions {
  readonly #session: Session;
  readonly #eventsMax: number;
  readonly #holders = new Map<string, Set<Subscription>>();
  /** Users who were not followed for a while, and whose holders have not heard of it. */
  readonly #lapsed = new Set<string>();
  /** Those of them who were confirmed in this tick. */
  #confirmed: string[] = [];
  /** Users whom the service did not take on this connection. */
  readonly #refused = new Set<string>();
  #again: NodeJS.Timeout | undefined;
  #againMs = AGAIN_MIN_MS;

  constructor(session: Session, eventsMax: number) {
    this.#session = session;
    this.#eventsMax = eventsMax;
  }

  /** Users who are held. */
  get size(): number {
    return this.#holders.size;
  }

  /** @throws TidemarkError of one of the users; then none is left subscribed to for this */
  async subscribe(userIds: readonly string[], listener?: Listener): Promise<Subscription> {
    const users = [...new Set(userIds)];
    const operations = users.map((userId) => encodeSubscribe(0, userId));
    const subscription = new Subscription(users, listener, this.#eventsMax, (ended) =>
      this.#unsubscribe(ended),
    );
    for (const userId of users) {
      const holders = this.#holders.get(userId);
      if (holders === undefined) this.#holders.set(userId, new Set([subscription]));
      else holders.add(subscription);
    }
    // All of them, also when one has failed: a later try of another would subscribe again behind what is ended here.
    const answers = await Promise.allSettled(operations.map((words) => this.#session.submit(words, true)));
    const failed = answers.find((answer) => answer.status === 'rejected');
    if (failed === undefined) return subscription;
    subscription.unsubscribe().catch(() => {
      // What it failed with is the error that counts; events of users whom nobody holds are dropped.
    });
    throw failed.reason;
  }

  deliver(event: ChangeEvent): void {
    if (this.#lapsed.has(event.userId)) this.#tellGap([event.userId]);
    const holders = this.#holders.get(event.userId);
    if (holders !== undefined) for (const holder of holders) holder.deliver(event);
  }

  /** On a new connection, on which nobody is subscribed to yet. */
  subscribeAgain(): void {
    clearTimeout(this.#again);
    this.#again = undefined;
    this.#againMs = AGAIN_MIN_MS;
    this.#refused.clear();
    for (const userId of this.#holders.keys()) {
      this.#lapsed.add(userId);
      this.#ask(userId);
    }
  }

  /** Ends all of them. */
  close(): void {
    this.#endAll((subscription) => subscription.end());
  }

  /** Ends all of them with an error: no later connection goes better. */
  fail(error: TidemarkError): void {
    this.#endAll((subscription) => subscription.fail(error));
  }

  #endAll(end: (subscription: Subscription) => void): void {
    clearTimeout(this.#again);
    this.#again = undefined;
    const all = new Set([...this.#holders.values()].flatMap((holders) => [...holders]));
    // Before anybody hears of it, who may subscribe anew.
    this.#holders.clear();
    this.#lapsed.clear();
    this.#refused.clear();
    for (const subscription of all) end(subscription);
  }

  #ask(userId: string): void {
    this.#session.submit(encodeSubscribe(0, userId), false, true).then(
      () => {
        // Answers of one frame come in one tick: one gap for all of their users.
        if (this.#confirmed.length === 0) queueMicrotask(() => this.#tellGap(this.#confirmed.splice(0)));
        this.#confirmed.push(userId);
      },
      () => {
        // Without a connection the next one begins anew.
        if (!this.#session.connected) return;
        this.#refused.add(userId);
        this.#again ??= setTimeout(() => this.#askAgain(), this.#againMs);
      },
    );
  }

  #askAgain(): void {
    this.#again = undefined;
    this.#againMs = Math.min(this.#againMs * 2, AGAIN_MAX_MS);
    const refused = [...this.#refused];
    this.#refused.clear();
    for (const userId of refused) if (this.#holders.has(userId)) this.#ask(userId);
  }

  #tellGap(userIds: readonly string[]): void {
    const gaps = new Map<Subscription, string[]>();
    for (const userId of userIds) {
      if (!this.#lapsed.delete(userId)) continue;
      for (const holder of this.#holders.get(userId) ?? []) {
        const gap = gaps.get(holder);
        if (gap === undefined) gaps.set(holder, [userId]);
        else gap.push(userId);
      }
    }
    for (const [holder, users] of gaps) holder.deliver({ event: 'gap', userIds: users });
  }

  async #unsubscribe(subscription: Subscription): Promise<void> {
    const released: string[] = [];
    for (const userId of subscription.userIds) {
      const holders = this.#holders.get(userId);
      if (holders === undefined || !holders.delete(subscription) || holders.size > 0) continue;
      this.#holders.delete(userId);
      this.#lapsed.delete(userId);
      released.push(userId);
    }
    // Without a connection there is nothing to end: the next one asks only for what is held then.
    if (!this.#session.connected) return;
    await Promise.all(
      released.map((userId) => this.#session.submit(encodeUnsubscribe(0, userId), true).catch(forgetLost)),
    );
  }
}

/** A connection that was lost has ended the subscription too. */
function forgetLost(error: unknown): void {
  if (!(error instanceof TidemarkError) || (error.code !== 'disconnected' && error.code !== 'closed'))
    throw error;
}
