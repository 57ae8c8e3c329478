/** Starts a node, says so without waiting for it, and stays until it is killed. */
import { CassandraCluster } from '../../scripts/cassandra/cluster.js';

void CassandraCluster.start({
  onStarted: ({ nodes: [node] }) => {
    process.stdout.write(JSON.stringify({ pid: node!.pid, folder: node!.options.folder }));
  },
});
