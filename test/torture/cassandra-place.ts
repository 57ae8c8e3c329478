/** A Cassandra of its own for the torture, with a proxy before each node, and a keyspace with the schema. */
import { execFile } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { addressBehind, CassandraCluster, CQL_PORT } from '../../scripts/cassandra/cluster.js';
import { FaultProxy } from '../support/fault-proxy.js';
import { LAUNCHER } from './server.js';

/** Proxies listen so many addresses behind their nodes. */
const PROXY_OFFSET = 20;

export class CassandraPlace {
  private constructor(
    readonly cluster: CassandraCluster,
    readonly proxies: readonly FaultProxy[],
    readonly storeUrl: string,
  ) {}

  static async start(nodes: number): Promise<CassandraPlace> {
    const first = `127.0.${randomInt(1, 255)}.${randomInt(1, 200)}`;
    const proxyAddress = (index: number): string => addressBehind(first, index + PROXY_OFFSET);
    const proxies: FaultProxy[] = [];
    for (let i = 0; i < nodes; i++) {
      const listen = { host: proxyAddress(i), port: CQL_PORT };
      proxies.push(await FaultProxy.start(listen, { host: addressBehind(first, i), port: CQL_PORT }));
    }
    const cluster = await CassandraCluster.start({ nodes, firstAddress: first, cqlAddress: proxyAddress });
    const hosts = proxies.map(({ address }) => `${address.host}:${address.port}`).join(',');
    // Reads at the default ask one replica, which may be the one that was away.
    const quorum = nodes > 1 ? '&read-consistency=LOCAL_QUORUM' : '';
    const storeUrl = `cassandra://${hosts}/torture?dc=datacenter1${quorum}`;
    const place = new CassandraPlace(cluster, proxies, storeUrl);
    try {
      await promisify(execFile)(
        LAUNCHER,
        ['schema', '--apply', '--store', storeUrl, '--replicas', String(nodes)],
        { env: { ...process.env, PATH: `${dirname(process.execPath)}:${process.env.PATH}` } },
      );
    } catch (error) {
      await place.end();
      throw error;
    }
    return place;
  }

  async end(): Promise<void> {
    for (const proxy of this.proxies) await proxy.stop();
    await this.cluster.end();
  }
}
