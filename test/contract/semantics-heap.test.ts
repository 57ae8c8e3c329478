/** `--engine heap` means the same. */
import { ackScenarios } from './ack-scenarios.js';
import { deleteScenarios } from './delete-scenarios.js';
import { listScenarios } from './list-scenarios.js';
import { mentionScenarios } from './mention-scenarios.js';
import { raceScenarios } from './race-scenarios.js';
import { TINY } from './service.js';
import { playScenarios } from './stage.js';

const ALL = [ackScenarios, mentionScenarios, deleteScenarios, listScenarios, raceScenarios];

playScenarios(
  '--engine heap, everybody is evicted, LMDB',
  { ...TINY, engine: 'heap', store: 'lmdb:', flushDelay: '50ms' },
  ALL,
  ['binary WebSocket'],
);
playScenarios('--engine heap, everybody is in memory', { engine: 'heap' }, ALL, ['JSON WebSocket']);
