/** The same, with so little memory that everybody is evicted all the time, on both stores. */
import { ackScenarios } from './ack-scenarios.js';
import { deleteScenarios } from './delete-scenarios.js';
import { listScenarios } from './list-scenarios.js';
import { mentionScenarios } from './mention-scenarios.js';
import { raceScenarios } from './race-scenarios.js';
import { TINY } from './service.js';
import { playScenarios } from './stage.js';

const ALL = [ackScenarios, mentionScenarios, deleteScenarios, listScenarios, raceScenarios];

playScenarios(
  'everybody is evicted, LMDB, changes are written at once',
  { ...TINY, store: 'lmdb:', flushDelay: '0ms' },
  ALL,
);
playScenarios(
  'everybody is evicted, memory store, changes are written only for room',
  { ...TINY, flushDelay: '1h' },
  ALL,
);
