/** What the calls mean, over each protocol, with room for everybody. */
import { ackScenarios } from './ack-scenarios.js';
import { deleteScenarios } from './delete-scenarios.js';
import { listScenarios } from './list-scenarios.js';
import { mentionScenarios } from './mention-scenarios.js';
import { raceScenarios } from './race-scenarios.js';
import { playScenarios } from './stage.js';

const ALL = [ackScenarios, mentionScenarios, deleteScenarios, listScenarios, raceScenarios];

playScenarios('everybody is in memory, on two shards', { shards: '2', partitions: '4' }, ALL);
