/** How the Java machine is to be started for Cassandra 5 on Java 17. */

/** What Cassandra uses of the JDK's inside. */
const EXPORTS = [
  'java.base/java.lang.ref',
  'java.base/jdk.internal.misc',
  'java.base/jdk.internal.ref',
  'java.base/sun.nio.ch',
  'java.management.rmi/com.sun.jmx.remote.internal.rmi',
  'java.rmi/sun.rmi.registry',
  'java.rmi/sun.rmi.server',
  'java.sql/java.sql',
  'jdk.unsupported/sun.misc',
];
const OPENS = [
  'java.base/java.io',
  'java.base/java.lang',
  'java.base/java.lang.module',
  'java.base/java.lang.reflect',
  'java.base/java.net',
  'java.base/java.nio',
  'java.base/java.util',
  'java.base/java.util.concurrent',
  'java.base/java.util.concurrent.atomic',
  'java.base/jdk.internal.loader',
  'java.base/jdk.internal.math',
  'java.base/jdk.internal.module',
  'java.base/jdk.internal.ref',
  'java.base/jdk.internal.reflect',
  'java.base/jdk.internal.util.jar',
  'java.base/sun.nio.ch',
  'jdk.management/com.sun.management.internal',
];

/** Small and quick to start, or as for production: `fast` is for measurements. */
const MACHINES = {
  small: ['-Xms128m', '-Xmx512m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'],
  fast: ['-Xms1g', '-Xmx1g', '-XX:+UseG1GC'],
};
export type Machine = keyof typeof MACHINES;

const PROPERTIES = {
  'jdk.attach.allowAttachSelf': 'true',
  'cassandra-foreground': 'yes',
  'cassandra.skip_wait_for_gossip_to_settle': '0',
  'cassandra.ring_delay_ms': '100',
  'cassandra.superuser_setup_delay_ms': '0',
  'cassandra.shutdown_announce_in_ms': '0',
  // Measured at every start otherwise, for 2 s.
  'cassandra.memtable.row_overhead_size': '180',
};

/** Arguments of `java` up to the name of the main class. */
export function javaArguments(
  machine: Machine,
  classPath: string,
  properties: Record<string, string>,
): string[] {
  return [
    ...MACHINES[machine],
    ...EXPORTS.flatMap((name) => ['--add-exports', `${name}=ALL-UNNAMED`]),
    ...OPENS.flatMap((name) => ['--add-opens', `${name}=ALL-UNNAMED`]),
    ...Object.entries({ ...PROPERTIES, ...properties }).map(([name, value]) => `-D${name}=${value}`),
    '-cp',
    classPath,
  ];
}
