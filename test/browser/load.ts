/** Load on a service whose console is looked at. */
import { Client } from '../integration/gateway-support.js';

const REQUESTS_A_FRAME = 50;
export const USERS = 400;

/** Acks, gets and lists of some hundred users, until it is stopped. */
export class Load {
  #stopped = false;
  readonly #done: Promise<void>;

  constructor(url: URL) {
    this.#done = this.#run(`${url.href.replace('http', 'ws')}v1/stream`);
  }

  async #run(url: string): Promise<void> {
    const client = await Client.open(url, 'tidemark.v1.json');
    for (let i = 0; !this.#stopped; ) {
      const requests = Array.from({ length: REQUESTS_A_FRAME }, () => {
        const user_id = String(1 + (i % USERS));
        const id = i++;
        if (id % 10 === 0) return { id, op: 'list', user_id };
        const channel_id = String(1 + (id % 7));
        return id % 3 === 0
          ? { id, op: 'get', user_id, channel_id }
          : { id, op: 'ack', user_id, channel_id, message_id: String(1 + id) };
      });
      await client.ask(...requests);
      client.received.length = 0;
    }
    client.socket.terminate();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
  }
}
