/**
 * What the journal costs: `make bench-journal` (ARGS=--quick for a short look). `process` may cost a quarter of the
 * throughput of `none`, also when every operation is a change.
 */
import { sidesCommand } from './two-sides.js';

await sidesCommand('the same service with --durability process and none, in turn', {
  name: 'journal',
  floor: 0.75,
  workloads: ['mixed', 'ackNext'],
  sides: [
    { name: 'process', args: ['--durability', 'process'] },
    { name: 'none', args: ['--durability', 'none'] },
  ],
}).parseAsync();
