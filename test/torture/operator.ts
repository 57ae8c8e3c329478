/** Has lanes go from thread to thread while the load runs: resizes and reloads, one after another, until the service goes. */
import { sleep } from '../../bench/clock.js';
import type { Random } from '../../bench/random.js';

const PAUSE_MS_MAX = 100;
/** Of a service that stops: what comes then; what was under way is refused with these words. */
const STOPPING = 503;
const STOPS = 'the service is stopping';

export class Operator {
  /** Orders that were given, to a service that was not about to stop. */
  orders = 0;
  readonly #url: URL;
  readonly #random: Random;
  #isStopped = false;
  readonly #done: Promise<Error | null>;

  constructor(url: URL, random: Random) {
    this.#url = url;
    this.#random = random;
    this.#done = this.#run().then(
      () => null,
      (error: Error) => error,
    );
  }

  /**
   * Waits for the order that is under way, if the service lives.
   * @throws Error if one was refused
   */
  async stop(): Promise<void> {
    this.#isStopped = true;
    const error = await this.#done;
    if (error !== null) throw error;
  }

  async #run(): Promise<void> {
    const status = await this.#ask('status');
    if (status === null) return;
    const { lanes } = ((await status.json()) as { settings: { lanes: number } }).settings;
    while (!this.#isStopped) {
      await sleep(this.#random.fraction() * PAUSE_MS_MAX);
      const isResize = lanes > 1 && this.#random.below(2) === 0;
      const order = isResize ? { shards: 1 + this.#random.below(lanes) } : {};
      this.orders++;
      const answer = await this.#ask(isResize ? 'shards' : 'reload', order);
      if (answer === null) return;
      if (answer.status === 200) continue;
      const text = await answer.text();
      if (text.includes(STOPS)) return; // it was under way when an orderly stop began
      throw new Error(`${isResize ? 'a resize' : 'a reload'} was refused: ${text}`);
    }
  }

  /** @returns null when the service goes or is gone */
  async #ask(path: string, order?: object): Promise<Response | null> {
    const post = {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(order),
    };
    try {
      const answer = await fetch(new URL(`/admin/${path}`, this.#url), order === undefined ? {} : post);
      return answer.status === STOPPING ? null : answer;
    } catch {
      return null;
    }
  }
}
