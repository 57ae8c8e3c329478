/** Bytes to a socket, and what comes back: for requests that no well-behaved client sends. */
import { connect, type Socket } from 'node:net';

export interface Answer {
  readonly status: number;
  readonly head: string;
  readonly body: string;
}

export class RawSocket {
  readonly socket: Socket;
  received = '';
  /** The peer has ended or reset the connection. */
  closed = false;
  readonly whenClosed: Promise<void>;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (data) => {
      this.received += data.toString('latin1');
    });
    socket.on('error', () => {});
    this.whenClosed = new Promise((resolve) => {
      const closed = (): void => {
        this.closed = true;
        resolve();
      };
      socket.on('end', closed);
      socket.on('close', closed);
    });
  }

  static open(port: number): Promise<RawSocket> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1', () => resolve(new RawSocket(socket)));
      socket.once('error', reject);
    });
  }

  send(bytes: string | Uint8Array): void {
    if (typeof bytes === 'string') this.socket.write(bytes, 'latin1');
    else this.socket.write(bytes);
  }

  /** The whole answers that have come so far. */
  get answers(): Answer[] {
    const answers: Answer[] = [];
    for (let at = 0; ; ) {
      const end = this.received.indexOf('\r\n\r\n', at);
      if (end < 0) return answers;
      const head = this.received.slice(at, end);
      const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
      if (this.received.length < end + 4 + length) return answers;
      const body = this.received.slice(end + 4, end + 4 + length);
      answers.push({ status: Number(head.split(' ')[1]), head, body });
      at = end + 4 + length;
    }
  }

  /** Waits for `count` answers or the end of the connection, at most `ms`. */
  async wait(count: number, ms = 5000): Promise<Answer[]> {
    const end = performance.now() + ms;
    while (this.answers.length < count && !this.closed && performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    return this.answers;
  }

  destroy(): void {
    this.socket.destroy();
  }
}
