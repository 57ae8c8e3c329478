/** What a new thread proves before it is given a lane: that its build fits the memory of the service, and that it works. */
import { hashUser } from '../engine/hash.js';
import { assert } from '../engine/layout.js';
import { OP_ACK, OP_GET, REPLY, REPLY_WORDS_MAX, REQUEST, STATUS_OK } from '../engine/messages.js';
import { OUTCOME_DONE } from '../engine/partition.js';
import { slab } from '../engine/slab.js';
import { VERSIONS } from './lane-options.js';

const OPTIONS = {
  recordsMax: 4,
  usersMax: 4,
  watchedMax: 1,
  lastWrite: false,
  flushDelayTicks: 1,
  retryFirstTicks: 1,
  retryMaxTicks: 1,
  touchTicks: 1,
};
const USER = 5;

/** @param running  of the build that started the service. @throws Error if this one cannot go on with its memory */
export function selfCheck(running: typeof VERSIONS): void {
  for (const what of ['partitions', 'lanes'] as const) {
    if (running[what] !== VERSIONS[what])
      throw new Error(
        `this build has version ${VERSIONS[what]} of the layout of ${what}, the memory of the service has ${running[what]}. Restart the service with it.`,
      );
  }
  const partition = slab.attach(OPTIONS, new SharedArrayBuffer(slab.sharedBytes(OPTIONS)));
  const hash = hashUser(USER, 0);
  const out = new Int32Array(REPLY_WORDS_MAX);
  const words = new Int32Array(REQUEST.WORDS);
  words[REQUEST.USER_LO] = USER;
  words[REQUEST.CHANNEL_LO] = 1;
  words[REQUEST.ARGUMENT_LO] = 1;
  partition.setTick(1);
  partition.admitUser(hash, USER, 0);
  for (const op of [OP_ACK, OP_GET]) {
    words[REQUEST.HEAD] = op;
    const outcome = partition.execute(hash, words, 0, out, 0, true);
    const status = (out[REPLY.HEAD]! >>> 8) & 0xff;
    assert(
      outcome === OUTCOME_DONE && status === STATUS_OK,
      `operation ${op} of the self-check: ${outcome}, ${status}`,
    );
  }
  partition.check();
}
