/** What the options of the client may be. */
import { expect, test } from 'vitest';
import { type ClientOptions, TidemarkClient, TidemarkError } from '../../gateway/client/index.js';

const TIMES = ['timeoutMs', 'connectTimeoutMs', 'keepAliveMs', 'reconnectMinMs', 'reconnectMaxMs'] as const;
const COUNTS = ['frameBytesMax', 'inFlightMax', 'callsMax', 'triesMax', 'eventsMax'] as const;
const MOST = 2_147_483_647;

function refusal(name: keyof ClientOptions, value: unknown): TidemarkError {
  try {
    new TidemarkClient({ url: 'http://127.0.0.1:1', [name]: value });
  } catch (error) {
    expect(error).toBeInstanceOf(TidemarkError);
    expect(error).toMatchObject({ code: 'invalid_request', field: name });
    return error as TidemarkError;
  }
  throw new Error(`${name} may be ${String(value)}`);
}

function accept(options: Partial<ClientOptions>): void {
  new TidemarkClient({ url: 'http://127.0.0.1:1', ...options }).close();
}

test.each(TIMES)('%s is a number within its limits', (name) => {
  const wanted = /^\w+ is .+, and not a number from 1 to 2147483647(, or Infinity)?$/;
  for (const value of [0, 0.5, -1, MOST + 1, Number.NaN, Number.NEGATIVE_INFINITY, '100', true])
    expect(refusal(name, value).message).toMatch(wanted);
  for (const value of [1, 1.5, MOST, undefined]) accept({ [name]: value });
});

test.each(COUNTS)('%s is a whole number within its limits', (name) => {
  const least = name === 'frameBytesMax' ? 32 : 1;
  const wanted = `, and not a whole number from ${least} to 2147483647`;
  for (const value of [0, least - 1, least + 0.5, -1, MOST + 1, Number.NaN, '100', {}])
    expect(refusal(name, value).message).toContain(wanted);
  for (const value of [least, least + 1, MOST, undefined]) accept({ [name]: value });
});

test('only calls may have no time limit', () => {
  accept({ timeoutMs: Number.POSITIVE_INFINITY });
  for (const name of [...TIMES, ...COUNTS]) {
    if (name === 'timeoutMs') continue;
    expect(refusal(name, Number.POSITIVE_INFINITY).message).toContain('is Infinity, and not a');
  }
});
