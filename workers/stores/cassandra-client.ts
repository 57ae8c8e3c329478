/** The driver, as the Cassandra store wants it: its options, and what its errors mean. */
import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from 'node:tls';
import cassandra from 'cassandra-driver';
import type { CassandraSettings, Consistency } from './cassandra-url.js';

const { Client, errors, policies, types } = cassandra;
export type CqlClient = Pick<cassandra.Client, 'connect' | 'execute' | 'batch' | 'shutdown'>;
export type QueryOptions = cassandra.QueryOptions;
export type Row = cassandra.types.Row;

const CONNECT_TIMEOUT_MS = 5000;
const RECONNECT_FIRST_MS = 250;
const RECONNECT_MAX_MS = 2000;
/** Of an idle connection; so a half-open one is found and replaced without a request. */
const HEARTBEAT_MS = 5000;
/** A connection on which so many requests have timed out is given up. */
const TIMEOUTS_MAX = 8;
/** A load that has no answer by then asks another replica, too. */
const SECOND_REPLICA_MS = 250;

const CONSISTENCIES: Record<Consistency, number> = {
  ONE: types.consistencies.one,
  TWO: types.consistencies.two,
  THREE: types.consistencies.three,
  QUORUM: types.consistencies.quorum,
  ALL: types.consistencies.all,
  LOCAL_QUORUM: types.consistencies.localQuorum,
  LOCAL_ONE: types.consistencies.localOne,
  EACH_QUORUM: types.consistencies.eachQuorum,
};

export function consistencyOf(name: Consistency): number {
  return CONSISTENCIES[name];
}

/**
 * What the driver tries again by itself. Another node when one is gone: all that is sent may arrive twice. Nothing
 * after a timeout or when a node has too much to do: who asked has waited long enough, and flushes come again.
 */
class StoreRetries extends policies.retry.RetryPolicy {
  override onRequestError(info: cassandra.policies.retry.OperationInfo, consistency: number, error: Error) {
    const isTired = error instanceof errors.OperationTimedOutError || error instanceof errors.ResponseError;
    return isTired ? this.rethrowResult() : super.onRequestError(info, consistency, error);
  }
}

type SpeculativeExecution = cassandra.policies.speculativeExecution.SpeculativeExecutionPolicy;

/**
 * Loads ask a second replica when the first does not answer; writes do not. Where there is one node none is asked: the
 * driver's timer alone is 3% of a load.
 */
function secondReplica(nodes: () => number): SpeculativeExecution {
  return {
    init() {},
    newPlan(_keyspace, query) {
      const isLoad = typeof query === 'string' && query.startsWith('SELECT');
      let left = isLoad && nodes() > 1 ? 1 : 0;
      return { nextExecution: () => (left-- > 0 ? SECOND_REPLICA_MS : -1) };
    },
    getOptions: () => new Map(),
    shutdown() {},
  };
}

/** A client that is not connected. @throws Error that names a file that cannot be read */
export function createClient(settings: CassandraSettings): cassandra.Client {
  const { hosts, port, user, password, dataCentre, requestTimeoutMs } = settings;
  const client: cassandra.Client = new Client({
    contactPoints: [...hosts],
    localDataCenter: dataCentre,
    protocolOptions: { port },
    ...(user === null ? {} : { credentials: { username: user, password: password ?? '' } }),
    ...(settings.tls === 'off' ? {} : { sslOptions: tlsOptions(settings) }),
    policies: {
      retry: new StoreRetries(),
      speculativeExecution: secondReplica(() => client.hosts.length),
      reconnection: new policies.reconnection.ExponentialReconnectionPolicy(
        RECONNECT_FIRST_MS,
        RECONNECT_MAX_MS,
        false,
      ),
    },
    pooling: { heartBeatInterval: HEARTBEAT_MS },
    socketOptions: {
      connectTimeout: CONNECT_TIMEOUT_MS,
      readTimeout: requestTimeoutMs,
      defunctReadTimeoutThreshold: TIMEOUTS_MAX,
    },
    monitorReporting: { enabled: false },
    applicationName: 'tidemark',
  });
  refreshOneAtATime(client);
  return client;
}

/** What of the driver's inside is mended below. */
export interface ControlConnection {
  _refresh(hosts?: unknown): Promise<void>;
}

/**
 * When connections are cut again and again, the driver (4.10.0) refreshes its control connection while it still does:
 * the second refresh takes the host from the first, whose TypeError nobody catches, and that ends the thread. So: one
 * at a time, and what goes wrong all the same is tried again.
 */
function refreshOneAtATime(client: cassandra.Client): void {
  const { controlConnection: control } = client as unknown as { controlConnection: ControlConnection };
  const refresh = control._refresh.bind(control);
  let running: Promise<void> | null = null;
  control._refresh = (hosts) => {
    if (hosts !== undefined) return refresh(hosts); // the running one goes on with its next host
    running ??= refresh()
      .catch(() => {
        setTimeout(() => control._refresh(), RECONNECT_MAX_MS).unref();
      })
      .finally(() => {
        running = null;
      });
    return running;
  };
}

function tlsOptions({ tls, tlsCa, tlsCert, tlsKey }: CassandraSettings): ConnectionOptions {
  const read = (file: string): Buffer => {
    try {
      return readFileSync(file);
    } catch (error) {
      throw new Error(`cannot read ${file}: ${(error as Error).message}`);
    }
  };
  return {
    rejectUnauthorized: true,
    ...(tlsCa === null ? {} : { ca: read(tlsCa) }),
    ...(tlsCert === null ? {} : { cert: read(tlsCert) }),
    ...(tlsKey === null ? {} : { key: read(tlsKey) }),
    ...(tls === 'chain' ? { checkServerIdentity: () => undefined } : {}),
  };
}

/** What a server says of a request that another, smaller one may not have: a row it does not like. */
const REFUSALS = new Set<number>([
  types.responseErrorCodes.serverError,
  types.responseErrorCodes.protocolError,
  types.responseErrorCodes.writeFailure,
  types.responseErrorCodes.functionFailure,
  types.responseErrorCodes.syntaxError,
  types.responseErrorCodes.invalid,
]);

/** Whether a request failed for what is in it, and not for lack of a server with time for it. */
export function isRefusal(error: unknown): boolean {
  if (error instanceof errors.ResponseError) return REFUSALS.has(error.code);
  // What the driver throws when it encodes a value.
  return error instanceof TypeError || error instanceof RangeError || error instanceof errors.ArgumentError;
}

/** The message of an error of the driver, with the first reason if it tried several hosts. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof errors.NoHostAvailableError) {
    const tried = Object.entries((error.innerErrors ?? {}) as Record<string, unknown>);
    const reasons = tried.map(
      ([host, reason]) => `${host}: ${reason instanceof Error ? reason.message : String(reason)}`,
    );
    return reasons.length === 0 ? 'no host is up' : `no host answers (${reasons.slice(0, 3).join('; ')})`;
  }
  return error.message;
}
