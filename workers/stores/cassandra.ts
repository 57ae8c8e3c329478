/**
 * Cassandra, and ScyllaDB, which speaks the same protocol. Lives on the persister's thread. A user is a partition;
 * the table is in cassandra-schema.ts.
 *
 * I1  Every cell is written with the clock of its group (the timestamp of the request, as USING TIMESTAMP in each of
 *     its statements would be; a wipe says its own). So whatever arrives late, twice or out of order, the newest
 *     group wins, and groups of one user may be on their way at once. As the versions of a user grow with the clock,
 *     neither the user's version nor that of the latest deletion goes back.
 * I2  A group is written by cassandra-writes.ts, in requests of one partition each.
 * I3  No tombstone without need: nulls are never written, and a row that was never stored is not deleted.
 * I4  How many requests are on their way is the store's to say (`loadsAtOnce`, `writesAtOnce`; cassandra-limits.ts), and
 *     the caller keeps to it. Each ends within the request timeout.
 */
import { LOAD_KEY, LOAD_PART_ROWS, ROW } from '../../engine/messages.js';
import {
  type CqlClient,
  consistencyOf,
  createClient,
  isRefusal,
  type QueryOptions,
  type Row,
  reasonOf,
} from './cassandra-client.js';
import { CassandraLimits } from './cassandra-limits.js';
import {
  hasKey,
  keyParams,
  keyTuples,
  longOf,
  type Texts,
  takeRow,
  takeStatics,
  textsOf,
} from './cassandra-rows.js';
import { checkSchema, readSchema } from './cassandra-schema.js';
import type { CassandraSettings } from './cassandra-url.js';
import { type SendStatements, writeGroup } from './cassandra-writes.js';
import type { RowSink, Store, UserRow, WriteGroup } from './store.js';

/** Keys in one request of loadRows: what a bulk operation has at most. */
const KEYS_MAX = 100;

export class CassandraStore implements Store {
  readonly rowsAWrite = 1;
  /** For messages: without user and password. */
  readonly #name: string;
  readonly #settings: CassandraSettings;
  readonly #connect: (settings: CassandraSettings) => CqlClient;
  #client: CqlClient | null = null;
  readonly #texts: Texts;
  readonly #limits = new CassandraLimits();
  readonly #readOptions: QueryOptions;
  readonly #writeOptions: QueryOptions;

  /** @param connect  makes the driver's client, not connected; for tests */
  constructor(
    settings: CassandraSettings,
    connect: (settings: CassandraSettings) => CqlClient = createClient,
  ) {
    const { hosts, keyspace, readConsistency, writeConsistency, fetchRows } = settings;
    this.#settings = settings;
    this.#name = `cassandra://${hosts.join(',')}/${keyspace}`;
    this.#connect = connect;
    this.#texts = textsOf(keyspace);
    const common = { prepare: true, isIdempotent: true, keyspace };
    this.#readOptions = { ...common, consistency: consistencyOf(readConsistency), fetchSize: fetchRows };
    this.#writeOptions = { ...common, consistency: consistencyOf(writeConsistency), logged: false };
  }

  get loadsAtOnce(): number {
    return this.#limits.loads.limit;
  }

  get writesAtOnce(): number {
    return this.#limits.writes.limit;
  }

  async open(): Promise<void> {
    let client: CqlClient | null = null;
    try {
      client = this.#connect(this.#settings);
      await client.connect();
      await this.#checkSchema(client);
    } catch (error) {
      await client?.shutdown().catch(() => {});
      throw new Error(`cannot open the store ${this.#name}: ${reasonOf(error)}`);
    }
    this.#client = client;
  }

  async #checkSchema(client: CqlClient): Promise<void> {
    const { keyspace, dataCentre } = this.#settings;
    const { missing, wrong } = checkSchema(keyspace, dataCentre, 1, await readSchema(client, keyspace));
    const problems = [...missing.map((what) => `${what} is missing`), ...wrong];
    if (problems.length === 0) return;
    const remedy = wrong.length > 0 ? '' : ' Make it with: tidemark schema --apply --store URL';
    throw new Error(`${problems.join('; ')}.${remedy}`);
  }

  /** Pages of a user are no snapshot: what is written meanwhile may be in one and not in another. */
  async loadUser(userLo: number, userHi: number, sink: RowSink): Promise<UserRow> {
    const parts = new Parts(sink);
    const params = [longOf(userLo, userHi)];
    let options = this.#readOptions;
    let last: Row | undefined;
    for (;;) {
      const { rows, pageState } = await this.#load(this.#texts.loadUser, params, options);
      last = rows.at(-1) ?? last;
      await parts.take(rows);
      if (pageState === null) break;
      options = { ...this.#readOptions, pageState };
    }
    await parts.finish();
    return takeStatics(last);
  }

  async loadRows(
    userLo: number,
    userHi: number,
    keys: Int32Array,
    count: number,
    sink: RowSink,
  ): Promise<UserRow> {
    const parts = new Parts(sink, count);
    const user = longOf(userLo, userHi);
    let last: Row | undefined;
    for (let from = 0; from < count; from += KEYS_MAX) {
      const at = from * LOAD_KEY.WORDS;
      const asked = Math.min(count - from, KEYS_MAX);
      const { rows } =
        asked === 1
          ? await this.#load(this.#texts.loadRow, keyParams(user, keys, at), this.#readOptions)
          : await this.#load(this.#texts.loadRows, [user, keyTuples(keys, at, asked)], this.#readOptions);
      last = rows.at(-1) ?? last;
      await parts.take(rows);
    }
    await parts.finish();
    // Statics come with a row; when there is none, nobody knows them yet.
    return takeStatics(
      last ?? (await this.#load(this.#texts.loadStatics, [user], this.#readOptions)).rows[0],
    );
  }

  async #load(
    query: string,
    params: readonly unknown[],
    options: QueryOptions,
  ): Promise<{ readonly rows: readonly Row[]; readonly pageState: string | null }> {
    const startedMs = this.#limits.loads.begin();
    try {
      const result = await this.#opened().execute(query, params, options);
      this.#limits.endLoad(startedMs, true, result.rows.length);
      return { rows: result.rows, pageState: result.pageState ?? null };
    } catch (error) {
      this.#limits.endLoad(startedMs, isRefusal(error), 0);
      throw new Error(`cannot load from the store ${this.#name}: ${reasonOf(error)}`);
    }
  }

  write(groups: readonly WriteGroup[]): Promise<readonly (Error | null)[]> {
    return Promise.all(groups.map((group) => writeGroup(group, this.#name, this.#texts, this.#send)));
  }

  readonly #send: SendStatements = async (statements, timestamp, routingKey) => {
    const options = { ...this.#writeOptions, timestamp, routingKey };
    const startedMs = this.#limits.writes.begin();
    try {
      const client = this.#opened();
      // One row is a statement of its own: cheaper for both sides than a batch of one.
      if (statements.length === 1) await client.execute(statements[0]!.query, statements[0]!.params, options);
      else await client.batch(statements as { query: string; params: unknown[] }[], options);
      this.#limits.writes.end(startedMs, true);
    } catch (error) {
      this.#limits.writes.end(startedMs, isRefusal(error));
      throw error;
    }
  };

  #opened(): CqlClient {
    if (this.#client === null) throw new Error(`the store ${this.#name} is not open`);
    return this.#client;
  }

  async close(): Promise<void> {
    const client = this.#client;
    this.#client = null;
    await client?.shutdown();
  }
}

/** Gathers rows in parts for a sink. */
class Parts {
  readonly #sink: RowSink;
  readonly #rowsMax: number;
  readonly #words: Int32Array;
  #count = 0;

  /** @param most  rows, as far as is known */
  constructor(sink: RowSink, most = LOAD_PART_ROWS) {
    this.#sink = sink;
    this.#rowsMax = Math.min(most, LOAD_PART_ROWS);
    this.#words = new Int32Array(this.#rowsMax * ROW.WORDS);
  }

  async take(rows: readonly Row[]): Promise<void> {
    for (const row of rows) {
      if (!hasKey(row)) continue;
      takeRow(row, this.#words, this.#count++ * ROW.WORDS);
      if (this.#count === this.#rowsMax) await this.finish();
    }
  }

  async finish(): Promise<void> {
    if (this.#count === 0) return;
    const count = this.#count;
    this.#count = 0;
    await this.#sink(this.#words, count);
  }
}
