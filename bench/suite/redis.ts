/**
 * Part 4: the service beside Redis and Valkey doing the same job: the same operations on the same entries, from the
 * same generator, as many in flight; pipelined against our frames, and one command at a time against our HTTP. All
 * servers are filled and idle while one of them has its round.
 */
import { REQUEST } from '../../engine/messages.js';
import { httpBlast } from '../http-blaster.js';
import { residentBytes } from '../process-memory.js';
import { respClosedLoop } from '../resp-blaster.js';
import { COMMAND_BYTES_MAX, writeIncrement, writeSameOperation } from '../resp-commands.js';
import { formatCount } from '../run-stats.js';
import { killChild, type Service, startService } from '../service-child.js';
import { ratioOf, type Spread, spreadOf } from '../spread.js';
import { checkService, OPS_PER_FRAME, prefill, withBlaster } from '../wire-session.js';
import { WireWorkload } from '../wire-workload.js';
import { type Finding, judge, type Part, type PartContext, type PartResult, times } from './part.js';
import { redisServer, valkeyServer } from './peer-tools.js';
import { RESP_ARGS, RespServer } from './resp-server.js';

const CHANNELS_PER_USER = 32;
/** As the wire benchmark: frames in flight on each connection. */
const PIPELINED = { connections: 16, window: 8 };
const SINGLE_CONNECTIONS = 64;

export interface RedisSide {
  readonly name: string;
  readonly kind: 'pipelined' | 'single';
  readonly rate: Spread;
  /** Tidemark of the same kind over this, round by round. */
  readonly tidemarkRatio: Spread;
  /** Of one core, that the generator took; near 1 it may be what is measured. */
  readonly clientShare: number;
}

export interface RedisData {
  readonly records: number;
  readonly sides: RedisSide[];
  readonly memory: { name: string; residentBytes: number; usedBytes: number | null }[];
}

interface Runner {
  readonly name: string;
  readonly kind: RedisSide['kind'];
  readonly run: () => Promise<{ rate: number }>;
}

class RedisPart {
  readonly #context: PartContext;
  readonly #workload: WireWorkload;
  readonly #roundMs: number;
  readonly #words = new Int32Array(REQUEST.WORDS);
  readonly #servers: RespServer[] = [];
  readonly skipped: string[] = [];
  readonly settings: Record<string, string> = {};
  #service: Service | undefined;

  constructor(context: PartContext) {
    this.#context = context;
    const records = (context.sizes?.[0] ?? (context.quick ? 0.5 : 8)) * 1e6;
    this.#workload = new WireWorkload(Math.ceil(records / CHANNELS_PER_USER), CHANNELS_PER_USER);
    this.#roundMs = context.quick ? 1000 : 4000;
  }

  async start(): Promise<void> {
    const { log, seed } = this.#context;
    for (const [name, tool] of Object.entries({ redis: redisServer(), valkey: valkeyServer() })) {
      if ('reason' in tool) {
        this.skipped.push(`redis, ${name}: ${tool.reason}`);
        continue;
      }
      const server = await RespServer.start(name, tool.path);
      this.#servers.push(server);
      await server.verify(seed);
      await server.fill(this.#workload);
      log(`${name}: verified and filled`);
      this.settings[name] =
        `${tool.version}; ${RESP_ARGS.map((arg) => arg || "''").join(' ')}; a hash for each user`;
    }
    const args = ['--capacity', String(Math.ceil(this.#workload.records * 1.05)), '--flush-delay', '1h'];
    const durability = ['--durability', 'none'];
    this.settings.tidemark = `serve ${[...args, ...durability].join(' ')} (nothing is saved on any side)`;
    this.#service = await startService([...args, ...durability]);
    await prefill(this.#service.url, this.#workload);
    await checkService(this.#service.url, this.#workload);
    log('tidemark: filled and verified');
  }

  async memory(): Promise<RedisData['memory']> {
    const rows: RedisData['memory'] = [
      { name: 'tidemark', residentBytes: residentBytes(this.#service!.child.pid!), usedBytes: null },
    ];
    for (const server of this.#servers) rows.push({ name: server.name, ...(await server.memory()) });
    return rows;
  }

  /** `writeSameOperation` or less, for operations of the workload. */
  #respRunner(
    server: RespServer,
    what: string,
    kind: RedisSide['kind'],
    write: typeof writeSameOperation,
    operation: WireWorkload['mixed'],
  ): Runner {
    const words = this.#words;
    const next = (out: Uint8Array, at: number): number => {
      operation(words, 0, 0);
      return write(words, out, at);
    };
    const load =
      kind === 'pipelined'
        ? { ...PIPELINED, commandsPerFrame: OPS_PER_FRAME }
        : { connections: SINGLE_CONNECTIONS, window: 1, commandsPerFrame: 1 };
    const { port } = server;
    const options = { port, ...load, commandBytesMax: COMMAND_BYTES_MAX, next };
    return { name: `${server.name}, ${what}`, kind, run: () => respClosedLoop(options, this.#roundMs) };
  }

  #runners(): Runner[] {
    const { url } = this.#service!;
    const workload = this.#workload;
    const { connections, window } = PIPELINED;
    const runners: Runner[] = [
      {
        name: 'tidemark, frames',
        kind: 'pipelined',
        run: () =>
          withBlaster(url, connections, workload.mixed, (blaster) =>
            blaster.closedLoop(this.#roundMs, window),
          ),
      },
      {
        name: 'tidemark, HTTP ack',
        kind: 'single',
        run: () =>
          httpBlast({
            url,
            connections: SINGLE_CONNECTIONS,
            durationMs: this.#roundMs,
            next: workload.httpAck,
          }),
      },
    ];
    for (const server of this.#servers) {
      runners.push(this.#respRunner(server, 'Lua', 'pipelined', writeSameOperation, workload.mixed));
      runners.push(this.#respRunner(server, 'HINCRBY', 'pipelined', writeIncrement, workload.mixed));
      runners.push(this.#respRunner(server, 'Lua ack', 'single', writeSameOperation, workload.ackRandom));
    }
    return runners;
  }

  async measure(): Promise<RedisSide[]> {
    const { log, quick } = this.#context;
    const runners = this.#runners();
    const rates = new Map<string, number[]>(runners.map(({ name }) => [name, []]));
    const clientShares = new Map<string, number[]>(runners.map(({ name }) => [name, []]));
    // The first round warms up, and is not counted.
    for (let round = 0; round <= (quick ? 2 : this.#context.rounds); round++) {
      for (const { name, run } of runners) {
        const start = performance.now();
        const cpu = process.cpuUsage();
        const { rate } = await run();
        if (round === 0) continue;
        rates.get(name)!.push(rate);
        const { user, system } = process.cpuUsage(cpu);
        clientShares.get(name)!.push((user + system) / 1000 / (performance.now() - start));
      }
      if (round === 0) continue;
      log(
        `round ${round}: ${[...rates].map(([name, all]) => `${name} ${formatCount(all.at(-1)!)}`).join('; ')}`,
      );
    }
    return runners.map(({ name, kind }) => {
      const own = kind === 'pipelined' ? 'tidemark, frames' : 'tidemark, HTTP ack';
      return {
        name,
        kind,
        rate: spreadOf(rates.get(name)!),
        tidemarkRatio: ratioOf(rates.get(own)!, rates.get(name)!),
        clientShare: spreadOf(clientShares.get(name)!).median,
      };
    });
  }

  findings(sides: readonly RedisSide[], memory: RedisData['memory']): Finding[] {
    const { quick } = this.#context;
    const floors = [
      { name: 'redis, Lua', atLeast: 5 },
      { name: 'redis, HINCRBY', atLeast: 2.5 },
      { name: 'valkey, Lua' },
      { name: 'valkey, HINCRBY' },
      { name: 'redis, Lua ack' },
    ];
    const findings: Finding[] = [];
    for (const { name, atLeast } of floors) {
      const side = sides.find((other) => other.name === name);
      if (side === undefined) continue;
      const { median, min, max } = side.tidemarkRatio;
      const what = `${side.kind === 'pipelined' ? 'binary protocol' : 'HTTP'}, beside ${name} (${side.kind})`;
      const spread = ` (${min.toFixed(2)} to ${max.toFixed(2)})`;
      findings.push(judge(what, median, { ...(atLeast && { atLeast }), show: times }, !quick, spread));
    }
    const { records } = this.#workload;
    for (const { name, residentBytes: bytes } of memory) {
      const what = `resident memory for ${formatCount(records)} entries, ${name}`;
      const show = (value: number): string =>
        `${(value / 1e6).toFixed(0)} MB (${(value / records).toFixed(0)} bytes an entry)`;
      findings.push(judge(what, bytes, { show }, false));
    }
    return findings;
  }

  get records(): number {
    return this.#workload.records;
  }

  async end(): Promise<void> {
    for (const server of this.#servers) await server.end();
    if (this.#service !== undefined) await killChild(this.#service.child);
  }
}

export const redisPart: Part = {
  name: 'redis',
  title: 'The service beside Redis and Valkey',
  async run(context): Promise<PartResult<RedisData>> {
    const part = new RedisPart(context);
    try {
      await part.start();
      const memory = await part.memory();
      const sides = await part.measure();
      const { skipped, settings, records } = part;
      return { findings: part.findings(sides, memory), skipped, settings, data: { records, sides, memory } };
    } finally {
      await part.end();
    }
  },
};
