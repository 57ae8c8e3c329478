/** A short torture of the service on Cassandra; `make torture ARGS='--store cassandra:'` is the full one. */
import { expect, it } from 'vitest';
import { describeCassandra, newStoreUrl } from '../support/cassandra.js';
import { expectWork, tortureOptions } from '../torture/short.js';
import { report, Torture } from '../torture/torture.js';

describeCassandra('a service on Cassandra', () => {
  it('loses nothing when it is killed', { timeout: 300_000 }, async () => {
    const store = await newStoreUrl();
    const given = tortureOptions({}, { store: [store], shards: ['1', '2'], 'flush-delay': ['100ms', '5s'] });
    const result = await new Torture(given).run();
    expect(result.checker.violations, report(result, given)).toEqual([]);
    expect(result.kills).toBe(5);
    expectWork(result);
  });
});
