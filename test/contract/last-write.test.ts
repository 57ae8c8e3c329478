/** 1: "--ack-order last-write makes every ack set exactly." */
import { expect } from 'vitest';
import { message, newId, playScenarios, type Scenarios } from './stage.js';

const scenarios: Scenarios = {
  'every ack sets mark and count exactly, also backwards': async ({ driver, other }) => {
    const [user, channel] = [newId(), newId()];
    await driver.ack(user, channel, message(9), { flags: 3, mention_count: 2 });
    const back = await driver.ack(user, channel, message(4));
    expect(back).toMatchObject({ last_message_id: message(4), mention_count: 0, flags: 3 });
    expect(await other.get(user, channel)).toEqual(back);
    expect(await driver.ackBulk(user, [{ channel_id: channel, message_id: message(2) }])).toMatchObject([
      { last_message_id: message(2) },
    ]);
    expect(await driver.ack(user, channel, message(3), { manual: true, mention_count: 7 })).toMatchObject({
      last_message_id: message(3),
      mention_count: 7,
    });
  },
  'an ack that changes nothing still raises no version': async ({ driver }) => {
    const [user, channel] = [newId(), newId()];
    await driver.ack(user, channel, message(9));
    const back = await driver.ack(user, channel, message(4));
    expect(await driver.ack(user, channel, message(4))).toEqual(back);
  },
  'a mention is suppressed by the mark as it is': async ({ driver }) => {
    const [user, channel] = [newId(), newId()];
    await driver.ack(user, channel, message(9));
    expect(await driver.mention(channel, [user], { message_id: message(5) })).toMatchObject({
      suppressed: 1,
    });
    await driver.ack(user, channel, message(4));
    expect(await driver.mention(channel, [user], { message_id: message(5) })).toMatchObject({ applied: 1 });
  },
};

playScenarios('--ack-order last-write', { ackOrder: 'last-write' }, [scenarios]);
playScenarios(
  '--ack-order last-write, --engine heap',
  { ackOrder: 'last-write', engine: 'heap' },
  [scenarios],
  ['JSON WebSocket'],
);
