import { describe, expect, it } from 'vitest';
import { readCassandraUrl, redactStore } from '../../workers/stores/cassandra-url.js';

const read = (text: string, environment = {}) => readCassandraUrl(text, environment);

describe('readCassandraUrl', () => {
  it('fills in what is not said', () => {
    expect(read('cassandra://h1/tidemark?dc=dc1')).toEqual({
      settings: {
        hosts: ['h1'],
        port: 9042,
        keyspace: 'tidemark',
        user: null,
        password: null,
        dataCentre: 'dc1',
        readConsistency: 'LOCAL_ONE',
        writeConsistency: 'LOCAL_QUORUM',
        tls: 'off',
        tlsCa: null,
        tlsCert: null,
        tlsKey: null,
        requestTimeoutMs: 5000,
        fetchRows: 1000,
      },
      problems: [],
    });
  });

  it('takes everything that is said', () => {
    const text =
      'cassandra://me:p%40ss%3aword@10.0.0.1,[::1]:9142,node-3.example:9142/my_keys' +
      '?dc=eu%20west&write-consistency=each_quorum&read-consistency=LOCAL_QUORUM' +
      '&tls=chain&tls-ca=/ca.pem&tls-cert=/c.pem&tls-key=/k.pem&request-timeout-ms=700&fetch-rows=5000';
    const { settings, problems } = read(text);
    expect(problems).toEqual([]);
    expect(settings).toEqual({
      hosts: ['10.0.0.1', '::1', 'node-3.example'],
      port: 9142,
      keyspace: 'my_keys',
      user: 'me',
      password: 'p@ss:word',
      dataCentre: 'eu west',
      readConsistency: 'LOCAL_QUORUM',
      writeConsistency: 'EACH_QUORUM',
      tls: 'chain',
      tlsCa: '/ca.pem',
      tlsCert: '/c.pem',
      tlsKey: '/k.pem',
      requestTimeoutMs: 700,
      fetchRows: 5000,
    });
  });

  it('takes the password from the environment when the text has none', () => {
    const environment = { TIDEMARK_STORE_PASSWORD: 'from outside' };
    expect(read('cassandra://me@h/k?dc=d', environment).settings).toMatchObject({
      user: 'me',
      password: 'from outside',
    });
    expect(read('cassandra://me:own@h/k?dc=d', environment).settings.password).toBe('own');
    expect(read('cassandra://h/k?dc=d', environment).settings).toMatchObject({ user: null, password: null });
  });

  it.each([
    ['cassandra://', 'is not like cassandra://HOST'],
    ['cassandra://h', 'is not like'],
    ['cassandra:///k?dc=d', 'is not like'],
    ['cassandra://h/k', 'has no dc=DATACENTRE'],
    ['cassandra://h/k?dc=', 'has an empty dc'],
    ['cassandra://h/Keys?dc=d', 'names the keyspace "Keys"'],
    ['cassandra://h/?dc=d', 'names the keyspace ""'],
    [`cassandra://h/${'k'.repeat(49)}?dc=d`, 'names the keyspace'],
    ['cassandra://h:0/k?dc=d', 'names the host "h:0"'],
    ['cassandra://h:70000/k?dc=d', 'names the host "h:70000"'],
    ['cassandra://a,,b/k?dc=d', 'names the host ""'],
    ['cassandra://a:1,b:2/k?dc=d', 'names the ports 1 and 2'],
    ['cassandra://me@h/k?dc=d', 'set TIDEMARK_STORE_PASSWORD'],
    ['cassandra://:x@h/k?dc=d', 'has no user before the @'],
    ['cassandra://me:100%@h/k?dc=d', 'has a user or password with a %'],
    ['cassandra://h/k?dc=d&read-consistency=MOST', 'has read-consistency=MOST, which is not one of ONE,'],
    ['cassandra://h/k?dc=d&read-consistency=EACH_QUORUM', 'has read-consistency=EACH_QUORUM'],
    ['cassandra://h/k?dc=d&write-consistency=ANY', 'has write-consistency=ANY'],
    ['cassandra://h/k?dc=d&tls=yes', 'has tls=yes, which is not one of off, on, chain'],
    ['cassandra://h/k?dc=d&tls-ca=f', 'has files for TLS, which is off'],
    ['cassandra://h/k?dc=d&tls=on&tls-key=f', 'has one of tls-cert and tls-key'],
    ['cassandra://h/k?dc=d&fetch-rows=99', 'has fetch-rows=99, which is not a whole number from 100 to 5000'],
    ['cassandra://h/k?dc=d&request-timeout-ms=1e3', 'has request-timeout-ms=1e3'],
    ['cassandra://h/k?dc=d&dc=e', 'has dc twice'],
    ['cassandra://h/k?dc=d&port=1', 'has the parameter "port", and there are only dc, read-consistency'],
  ])('refuses %s', (text, problem) => {
    expect(read(text).problems.join('; ')).toContain(problem);
  });

  it.each([
    'cassandra://me:hunter2@h/k',
    'cassandra://me:hunter2@h/K?dc=',
    'cassandra://me:hun/ter2hunter2@h:0/k?dc=d',
    'cassandra://me:x@hunter2@h/k?dc=d&tls=maybe',
    'cassandra://me:hunter2?@h,,/k?dc=d',
    'cassandra://me:100%hunter2@h/k?dc=d',
    'cassandra://h/k?dc=d&password=hunter2',
    'cassandra://h/k?password=hunter2&user=me',
    'cassandra://me:hunter2@',
    'cassandra://me:hunter2@h/k?dc=d&read-consistency=x',
  ])('never shows the secret of %s', (text) => {
    const shown = [redactStore(text), ...read(text).problems].join(' ');
    expect(shown).not.toContain('hunter2');
  });

  it('shows all else', () => {
    expect(redactStore('cassandra://me:x@h1,h2:9042/k?dc=d&tls=on')).toBe(
      'cassandra://me:***@h1,h2:9042/k?dc=d&tls=on',
    );
    expect(redactStore('cassandra://me@h/k?dc=d')).toBe('cassandra://me@h/k?dc=d');
    expect(redactStore('lmdb:./a@b:c')).toBe('lmdb:./a@b:c');
  });
});
