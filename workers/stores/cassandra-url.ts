/**
 * The text that names a Cassandra store, and what is in it:
 *
 *     cassandra://user:password@h1,h2:9042/keyspace?dc=datacenter1&write-consistency=LOCAL_QUORUM&…
 *
 * Pure: no driver is loaded. Nothing that this gives as text has the password: not a problem, not `redactStore`.
 */

/** In place of what nobody may see. */
const HIDDEN = '***';
/** The environment's variable for the password, so that no command line shows it. */
export const PASSWORD_VARIABLE = 'TIDEMARK_STORE_PASSWORD';
export const CASSANDRA_PREFIX = 'cassandra://';

const PORT = 9042;
/** Cassandra's own bound of a name. */
const KEYSPACE = /^[a-z][a-z0-9_]{0,47}$/;

const READ_CONSISTENCIES = ['ONE', 'TWO', 'THREE', 'QUORUM', 'ALL', 'LOCAL_QUORUM', 'LOCAL_ONE'] as const;
const WRITE_CONSISTENCIES = [...READ_CONSISTENCIES, 'EACH_QUORUM'] as const;
export type Consistency = (typeof WRITE_CONSISTENCIES)[number];

const TLS_MODES = ['off', 'on', 'chain'] as const;

const FETCH_ROWS = { min: 100, max: 5000, default: 1000 };
const REQUEST_TIMEOUT_MS = { min: 100, max: 60_000, default: 5000 };

const PARAMETERS = [
  'dc',
  'read-consistency',
  'write-consistency',
  'tls',
  'tls-ca',
  'tls-cert',
  'tls-key',
  'request-timeout-ms',
  'fetch-rows',
] as const;
type Parameter = (typeof PARAMETERS)[number];
/** For the help of the option. */
export const CASSANDRA_PARAMETERS = PARAMETERS.join(', ');

export interface CassandraSettings {
  readonly hosts: readonly string[];
  readonly port: number;
  readonly keyspace: string;
  readonly user: string | null;
  readonly password: string | null;
  /** The data centre that is asked; others only get replicas. */
  readonly dataCentre: string;
  readonly readConsistency: Consistency;
  readonly writeConsistency: Consistency;
  /** `on`: the server's certificate is verified with its name; `chain`: without the name. */
  readonly tls: (typeof TLS_MODES)[number];
  /** Files, PEM. */
  readonly tlsCa: string | null;
  readonly tlsCert: string | null;
  readonly tlsKey: string | null;
  readonly requestTimeoutMs: number;
  /** Rows in one page of a user. */
  readonly fetchRows: number;
}

const EXAMPLE = `${CASSANDRA_PREFIX}HOST,HOST:9042/KEYSPACE?dc=DATACENTRE`;

/** `text` without secrets, for logs and messages; what names no Cassandra stays as it is. */
export function redactStore(text: string): string {
  if (!text.startsWith(CASSANDRA_PREFIX)) return text;
  const at = text.lastIndexOf('@'); // the last: a password may have an @ that is not escaped
  const access = text.slice(CASSANDRA_PREFIX.length, Math.max(at, CASSANDRA_PREFIX.length));
  const colon = access.indexOf(':');
  const shown = colon < 0 ? access : `${access.slice(0, colon)}:${HIDDEN}`;
  const rest = at < 0 ? text.slice(CASSANDRA_PREFIX.length) : text.slice(at);
  // What is no parameter of ours may be a secret at the wrong place.
  const safe = rest.replaceAll(/([?&])([^=&]*)=[^&]*/g, (whole, sign: string, name: string) =>
    isParameter(name) ? whole : `${sign}${name}=${HIDDEN}`,
  );
  return `${CASSANDRA_PREFIX}${shown}${safe}`;
}

function isParameter(name: string): boolean {
  return (PARAMETERS as readonly string[]).includes(name);
}

/**
 * Reads the text of a Cassandra store.
 * @param text         begins with CASSANDRA_PREFIX
 * @param environment  asked for PASSWORD_VARIABLE
 * @returns the settings, of no use if there are problems; each problem is a sentence without the beginning
 *   `--store=…` and without the password
 */
export function readCassandraUrl(
  text: string,
  environment: Record<string, string | undefined> = process.env,
): { readonly settings: CassandraSettings; readonly problems: readonly string[] } {
  const problems: string[] = [];
  const rest = text.slice(CASSANDRA_PREFIX.length);
  const at = rest.lastIndexOf('@');
  const access = at < 0 ? null : rest.slice(0, at);
  const match = /^([^/?]+)\/([^/?]*)(?:\?(.*))?$/.exec(rest.slice(at + 1));
  if (match === null) problems.push(`is not like ${EXAMPLE}`);
  const [, hostsText = '', keyspace = '', query = ''] = match ?? [];
  const { hosts, port } = match === null ? { hosts: [], port: PORT } : readHosts(hostsText, problems);
  if (match !== null && !KEYSPACE.test(keyspace)) {
    problems.push(
      `names the keyspace "${keyspace}", which is not a lower-case letter and up to 47 letters, digits or _`,
    );
  }
  const { user, password } = readAccess(access, environment, problems);
  const parameters = new Parameters(query, problems);
  const dataCentre = parameters.text('dc');
  if (match !== null && dataCentre === null) {
    problems.push('has no dc=DATACENTRE (SELECT data_center FROM system.local shows a node its own)');
  }
  const settings: CassandraSettings = {
    hosts,
    port,
    keyspace,
    user,
    password,
    dataCentre: dataCentre ?? '',
    readConsistency: parameters.choice('read-consistency', READ_CONSISTENCIES, 'LOCAL_ONE'),
    writeConsistency: parameters.choice('write-consistency', WRITE_CONSISTENCIES, 'LOCAL_QUORUM'),
    tls: parameters.choice('tls', TLS_MODES, 'off'),
    tlsCa: parameters.text('tls-ca'),
    tlsCert: parameters.text('tls-cert'),
    tlsKey: parameters.text('tls-key'),
    requestTimeoutMs: parameters.whole('request-timeout-ms', REQUEST_TIMEOUT_MS),
    fetchRows: parameters.whole('fetch-rows', FETCH_ROWS),
  };
  const { tls, tlsCa, tlsCert, tlsKey } = settings;
  if (tls === 'off' && (tlsCa ?? tlsCert ?? tlsKey) !== null) {
    problems.push('has files for TLS, which is off: add tls=on or tls=chain');
  }
  if ((tlsCert === null) !== (tlsKey === null)) problems.push('has one of tls-cert and tls-key: give both');
  return { settings, problems };
}

function readHosts(text: string, problems: string[]): { hosts: string[]; port: number } {
  const hosts: string[] = [];
  const ports = new Set<number>();
  for (const part of text.split(',')) {
    const match = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?$/.exec(part);
    const port = Number(match?.[2] ?? 0);
    if (match === null || port > 65_535 || (match[2] !== undefined && port === 0)) {
      problems.push(`names the host "${part}", which is not HOST or HOST:PORT`);
      continue;
    }
    hosts.push(match[1]!.replace(/^\[|\]$/g, ''));
    if (match[2] !== undefined) ports.add(port);
  }
  if (ports.size > 1) {
    problems.push(`names the ports ${[...ports].join(' and ')}: all nodes of a cluster listen at the same`);
  }
  return { hosts, port: [...ports][0] ?? PORT };
}

function readAccess(
  access: string | null,
  environment: Record<string, string | undefined>,
  problems: string[],
): { user: string | null; password: string | null } {
  const fromEnvironment = environment[PASSWORD_VARIABLE] ?? null;
  if (access === null) return { user: null, password: null };
  const colon = access.indexOf(':');
  const parts = colon < 0 ? [access] : [access.slice(0, colon), access.slice(colon + 1)];
  const [user, password] = parts.map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      problems.push('has a user or password with a % that is not %25 or another escape');
      return '';
    }
  });
  if (user === '') problems.push('has no user before the @');
  const known = password ?? fromEnvironment;
  if (known === null) problems.push(`has a user and no password: set ${PASSWORD_VARIABLE}`);
  return { user: user!, password: known };
}

/** The part behind the `?`; what is unknown is a problem. */
class Parameters {
  readonly #values = new Map<string, string>();
  readonly #problems: string[];

  constructor(query: string, problems: string[]) {
    this.#problems = problems;
    for (const [name, value] of new URLSearchParams(query)) {
      if (!isParameter(name))
        problems.push(`has the parameter "${name}", and there are only ${CASSANDRA_PARAMETERS}`);
      else if (this.#values.has(name)) problems.push(`has ${name} twice`);
      else if (value === '') problems.push(`has an empty ${name}`);
      else this.#values.set(name, value);
    }
  }

  text(name: Parameter): string | null {
    return this.#values.get(name) ?? null;
  }

  choice<T extends string>(name: Parameter, allowed: readonly T[], default_: T): T {
    const value = this.text(name);
    if (value === null) return default_;
    const found = allowed.find((each) => each.toLowerCase() === value.toLowerCase());
    if (found !== undefined) return found;
    this.#problems.push(`has ${name}=${value}, which is not one of ${allowed.join(', ')}`);
    return default_;
  }

  whole(
    name: Parameter,
    { min, max, default: default_ }: { min: number; max: number; default: number },
  ): number {
    const value = this.text(name);
    if (value === null) return default_;
    const number = /^\d{1,9}$/.test(value) ? Number(value) : Number.NaN;
    if (number >= min && number <= max) return number;
    this.#problems.push(`has ${name}=${value}, which is not a whole number from ${min} to ${max}`);
    return default_;
  }
}
