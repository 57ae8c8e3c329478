/** What a client can be told: the options, what they are if nothing is said, and what they may be. */
import { invalid } from './errors.js';
import type { WebSocketConstructor } from './transport.js';

/** Times are in milliseconds, 1 to 2^31-1; counts and bytes are whole numbers up to 2^31-1. */
export interface ClientOptions {
  /** `http://127.0.0.1:4040`, or the stream itself, `ws://…/v1/stream`. */
  url: string;
  token?: string;
  /** A constructor like that of the package `ws`. Default: the platform's own, else `ws` if it is installed. */
  webSocket?: WebSocketConstructor;
  /**
   * From a call to its answer, tries included. Default 10,000. Infinity: a call waits without a limit, also while there
   * is no service; it still fails with a lost connection if it may not be repeated.
   */
  timeoutMs?: number;
  /**
   * Largest frame that is sent, at most the service's `--max-frame` (1 MiB by default). Default 65,536; at least 32. One
   * operation that is larger goes alone.
   */
  frameBytesMax?: number;
  /** Operations sent and not answered; more wait here. Default 16,384; at least 1. */
  inFlightMax?: number;
  /** Operations waiting or in flight; one more fails with `busy`. Default 131,072; at least 1. */
  callsMax?: number;
  /** Tries of one call, the first included. Default 5; at least 1. */
  triesMax?: number;
  /** From the start of a connection to the end of its handshake; then the next is tried. Default 5,000. */
  connectTimeoutMs?: number;
  /**
   * A connection on which nothing comes for so long is asked with a ping, and given up when nothing comes for as long
   * again, or for half of `timeoutMs` if that is less. So a service that is gone without a word is noticed within twice
   * this, where a call waits also within `timeoutMs`. Default 15,000.
   */
  keepAliveMs?: number;
  /** First and longest pause before connecting again; doubles in between, with jitter. Default 100 and 10,000. */
  reconnectMinMs?: number;
  reconnectMaxMs?: number;
  /** Repeat acks, see `client.ts`. Default true. */
  repeatAcks?: boolean;
  /** Events kept for a slow reader of a subscription before it gets a `gap`. Default 10,000; at least 1. */
  eventsMax?: number;
}

type NumberName = Exclude<keyof ClientOptions, 'url' | 'token' | 'webSocket' | 'repeatAcks'>;

interface NumberOption {
  readonly value: number;
  readonly least: number;
  readonly isWhole: boolean;
  readonly mayBeInfinite?: boolean;
}

const time = (value: number): NumberOption => ({ value, least: 1, isWhole: false });
const count = (value: number): NumberOption => ({ value, least: 1, isWhole: true });

const NUMBERS: Record<NumberName, NumberOption> = {
  timeoutMs: { ...time(10_000), mayBeInfinite: true },
  frameBytesMax: { ...count(65_536), least: 32 },
  inFlightMax: count(16_384),
  callsMax: count(131_072),
  triesMax: count(5),
  connectTimeoutMs: time(5000),
  keepAliveMs: time(15_000),
  reconnectMinMs: time(100),
  reconnectMaxMs: time(10_000),
  eventsMax: count(10_000),
};
/** A timer of the platform that is set to more goes off at once. */
const MOST = 2 ** 31 - 1;

/**
 * The options that are numbers, with the defaults of those that are not given.
 * @throws TidemarkError `invalid_request` (names the option and what it may be)
 */
export function numbersOf(options: ClientOptions): Record<NumberName, number> {
  const numbers = {} as Record<NumberName, number>;
  for (const name of Object.keys(NUMBERS) as NumberName[]) {
    const option = NUMBERS[name];
    const value = options[name] ?? option.value;
    if (!isAllowed(value, option)) {
      const given = typeof value === 'string' ? JSON.stringify(value) : String(value);
      const kind = option.isWhole ? 'whole number' : 'number';
      const orMore = option.mayBeInfinite === true ? ', or Infinity' : '';
      throw invalid(name, `is ${given}, and not a ${kind} from ${option.least} to ${MOST}${orMore}`);
    }
    numbers[name] = value;
  }
  return numbers;
}

function isAllowed(value: number, { least, isWhole, mayBeInfinite }: NumberOption): boolean {
  if (value === Number.POSITIVE_INFINITY) return mayBeInfinite === true;
  return (isWhole ? Number.isInteger(value) : Number.isFinite(value)) && value >= least && value <= MOST;
}
