/**
 * What the journal costs: `make bench-journal` (ARGS=--quick for a short look). `process` may cost a quarter of the
 * throughput of `none`, also when every operation is a change.
 */
import { sidesCommand } from './two-sides.js';

await sidesCommand('the same service with --durability process and none, in turn', {
  name: 'journal',
  floor: 0.75,
  // The journal moves its epoch and fills new files each few seconds: that must not fall on the other side's slices alone.
  sliceMs: 2000,
  pairs: 4,
  workloads: ['mixed', 'ackNext'],
  sides: [
    { name: 'process', args: ['--durability', 'process'] },
    { name: 'none', args: ['--durability', 'none'] },
  ],
}).parseAsync();
