/** 3: a mention is a duplicate "when it is among the partition's recent ones (a bounded window, at least 4,096 mentions)". */
import { expect } from 'vitest';
import { message, newId, newIds, playScenarios, type Scenarios } from './stage.js';

/** Other mentions in between: with the first, 4,096 are to be remembered. */
const OTHERS = 4095;

const scenarios: Scenarios = {
  'a mention is still known after 4,095 others, also when the entry has seen later ones': async ({
    driver,
    other,
  }) => {
    const [user, channel] = [newId(), newId()];
    const first = { message_id: message(1) };
    expect(await driver.mention(channel, [user], first)).toMatchObject({ applied: 1 });
    expect(await driver.mention(channel, [user], { message_id: message(2) })).toMatchObject({ applied: 1 });
    const crowd = newIds(OTHERS - 1);
    expect(await driver.mention(channel, crowd, { message_id: message(3) })).toMatchObject({
      applied: OTHERS - 1,
      failed: [],
    });
    expect(await other.mention(channel, [user], first)).toMatchObject({ applied: 0, duplicates: 1 });
    expect(await other.mention(channel, crowd, { message_id: message(3) })).toMatchObject({
      applied: 0,
      duplicates: OTHERS - 1,
    });
    expect(await driver.get(user, channel)).toMatchObject({ mention_count: 2 });
  },
};

playScenarios('the window of one partition', { partitions: '1' }, [scenarios]);
playScenarios(
  'the window of one partition, --engine heap',
  { partitions: '1', engine: 'heap' },
  [scenarios],
  ['HTTP'],
);
