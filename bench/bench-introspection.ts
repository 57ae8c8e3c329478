/** What always-on introspection costs: `make bench-introspection` (ARGS=--quick for a short look). At most 3%. */
import { sidesCommand } from './two-sides.js';

await sidesCommand('the same service with and without introspection, in turn', {
  name: 'introspection',
  floor: 0.97,
  sliceMs: 100,
  pairs: 120,
  sides: [
    { name: 'on', args: ['--introspection', 'on'] },
    { name: 'off', args: ['--introspection', 'off'] },
  ],
}).parseAsync();
