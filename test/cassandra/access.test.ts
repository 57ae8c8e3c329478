/**
 * A Cassandra that lets in who has a password, over TLS only, and only with a certificate that it knows: `--store`
 * with all that this takes, the schema, the service, and what each thing that is missing is answered with.
 */
import { execFile } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { addressBehind, CassandraCluster, CQL_PORT } from '../../scripts/cassandra/cluster.js';
import { HttpDriver } from '../contract/http-driver.js';
import { Service } from '../contract/service.js';
import { message } from '../contract/stage.js';
import { describeCassandra } from '../support/cassandra.js';
import { TEST_CERTIFICATE, TEST_KEY } from '../support/certificate.js';
import { FaultProxy } from '../support/fault-proxy.js';
import { LAUNCHER } from '../torture/server.js';

const run = promisify(execFile);
const START_MS = 240_000;
/** Cassandra makes this user, who may do everything, when it has none. */
const USER = 'cassandra';
const PASSWORD = 'cassandra';
const STORE_PASSWORD = 'a password of the keystores';

describeCassandra('a Cassandra with TLS and passwords', () => {
  let folder: string;
  let cluster: CassandraCluster;
  let proxy: FaultProxy;
  let address: string;
  const file = (name: string): string => join(folder, name);

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'tidemark-access-'));
    address = `127.0.${randomInt(1, 255)}.${randomInt(1, 200)}`;
    writeFileSync(file('client.crt'), TEST_CERTIFICATE);
    writeFileSync(file('client.key'), TEST_KEY);
    const keytool = (command: string, store: string, ...args: string[]) =>
      run('keytool', [
        command,
        '-keystore',
        file(store),
        '-storepass',
        STORE_PASSWORD,
        '-alias',
        'it',
        ...args,
      ]);
    const name = ['-dname', 'CN=node', '-ext', `SAN=ip:${address}`];
    await keytool('-genkeypair', 'server.p12', '-storetype', 'PKCS12', '-keyalg', 'EC', ...name);
    await keytool('-exportcert', 'server.p12', '-rfc', '-file', file('server.crt'));
    await keytool(
      '-importcert',
      'trusted.p12',
      '-storetype',
      'PKCS12',
      '-noprompt',
      '-file',
      file('client.crt'),
    );
    cluster = await CassandraCluster.start({
      firstAddress: address,
      durable: false,
      settings: {
        authenticator: 'PasswordAuthenticator',
        authorizer: 'CassandraAuthorizer',
        client_encryption_options: JSON.stringify({
          enabled: true,
          optional: false,
          require_client_auth: true,
          store_type: 'PKCS12',
          keystore: file('server.p12'),
          keystore_password: STORE_PASSWORD,
          truststore: file('trusted.p12'),
          truststore_password: STORE_PASSWORD,
        }),
      },
    });
    proxy = await FaultProxy.start(
      { host: addressBehind(address, 20), port: CQL_PORT },
      { host: address, port: CQL_PORT },
    );
  }, START_MS);
  afterAll(async () => {
    await proxy.stop();
    await cluster.end();
    rmSync(folder, { recursive: true });
  }, 60_000);

  interface Access {
    readonly host?: string;
    readonly user?: string;
    readonly password?: string;
    readonly tls?: string;
    readonly ca?: string | null;
    readonly hasCertificate?: boolean;
  }

  function store(access: Access = {}): string {
    const { host = address, user = USER, password = PASSWORD, tls = 'on', ca = 'server.crt' } = access;
    const { hasCertificate = true } = access;
    const parameters = [
      'dc=datacenter1',
      `tls=${tls}`,
      ...(tls === 'off' || ca === null ? [] : [`tls-ca=${file(ca)}`]),
      ...(tls === 'off' || !hasCertificate
        ? []
        : [`tls-cert=${file('client.crt')}`, `tls-key=${file('client.key')}`]),
    ];
    return `cassandra://${user}:${password}@${host}/tidemark?${parameters.join('&')}`;
  }

  async function schema(url: string, env: Record<string, string> = {}): Promise<string> {
    const path = `${dirname(process.execPath)}:${process.env.PATH}`;
    const args = ['schema', '--apply', '--replicas', '1', '--store', url];
    const { stdout } = await run(LAUNCHER, args, { env: { ...process.env, PATH: path, ...env } });
    return stdout;
  }

  it('takes the schema, the password from the environment, and then the service', async () => {
    const hidden = store().replace(`:${PASSWORD}@`, '@');
    // The user is made a moment after the port is open.
    await expect
      .poll(() => schema(hidden, { TIDEMARK_STORE_PASSWORD: PASSWORD }).catch(({ stderr }) => stderr), {
        timeout: 60_000,
        interval: 1000,
      })
      .toContain('made');
    const service = await Service.start({ store: store() });
    const driver = new HttpDriver(service.url, 1);
    try {
      await driver.ack('5', '7', message(1));
      await service.restart(); // it writes at the stop, and reads again
    } finally {
      driver.close();
    }
    const again = new HttpDriver(service.url, 1);
    expect((await again.get('5', '7'))?.last_message_id).toBe(message(1));
    again.close();
    await service.stop();
  }, 120_000);

  it('takes a certificate for another name with tls=chain only', async () => {
    const { host } = proxy.address;
    await expect(schema(store({ host }))).rejects.toThrow(/does not match|altnames/i);
    expect(await schema(store({ host, tls: 'chain' }))).toContain('nothing is missing');
  }, 120_000);

  it.each<[string, Access, RegExp]>([
    ['a wrong password', { password: 'wrong' }, /username \w+ and\/or password are incorrect/],
    ['an unknown user', { user: 'nobody' }, /username \w+ and\/or password are incorrect/],
    ['no TLS', { tls: 'off' }, /cannot open the store/],
    ['no certificate of ours', { hasCertificate: false }, /cannot open the store/],
    ['a certificate of theirs that nobody vouches for', { ca: null }, /self[- ]signed certificate/],
    ['that of another authority', { ca: 'client.crt' }, /self[- ]signed certificate/],
  ])(
    'refuses the start with %s, without saying the password',
    async (_what, access, expected) => {
      const url = store(access);
      const error = await Service.start({ store: url }).then(
        () => new Error('it started'),
        (reason: Error) => reason,
      );
      expect(error.message).toMatch(expected);
      expect(error.message).toContain(`cannot open the store cassandra://${address}/tidemark`);
      if (access.password !== undefined) expect(error.message).not.toContain(access.password);
    },
    120_000,
  );
});
