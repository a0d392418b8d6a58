'use strict';

const assert = require('node:assert/strict');
const dgram = require('node:dgram');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { once } = require('node:events');
const { after, before, it } = require('node:test');
const trop = require('trop');
const { bothWays, scratch, sql, failure } = require('./support');

// Each option of reserve, release and of opening has a test here that fails when the option is ignored.

const RANGE = [28600, 28699];
const NO_PROBES = { skipOccupancyCheck: true };

/** A port that a TCP or UDP socket has, on loopback unless told otherwise, until the test is over. */
async function bound(t, { protocol = 'tcp', address = '127.0.0.1' } = {}) {
  const socket =
    protocol === 'tcp'
      ? net.createServer().listen(0, address)
      : dgram.createSocket(address === '::1' ? 'udp6' : 'udp4').bind(0, address);
  await once(socket, 'listening');
  t.after(() => socket.close());
  return socket.address().port;
}

bothWays('options', (call, open) => {
  const dataDir = path.join(scratch({ after }), 'data');
  let registry;

  before(async () => {
    registry = await open({ dataDir, ports: RANGE, discovery: false, variables: false });
  });

  it('store a project and a task, or none', async () => {
    const key = { path: '/w/fields' };
    const first = await call(registry, 'reserve', { ...key, project: ' shop ', task: 'checkout' });
    assert.deepEqual([first.project, first.task], ['shop', 'checkout']);
    const permitted = { ...key, allowProjectChange: true, allowTaskChange: true };
    const noProject = await call(registry, 'reserve', { ...permitted, clearProject: true });
    assert.deepEqual([noProject.project, noProject.task], [null, 'checkout']);
    const neither = await call(registry, 'reserve', { ...permitted, clearTask: true });
    assert.deepEqual([neither.project, neither.task], [null, null]);

    for (const [options, argument] of [
      [{ project: 'a', clearProject: true }, 'clearProject'],
      [{ task: 'a', clearTask: true }, 'clearTask'],
      [{ project: ' ' }, 'project'],
      [{ task: 'a\0b' }, 'task'],
    ]) {
      const reserving = call(registry, 'reserve', { path: '/w/none', ...options });
      await assert.rejects(reserving, failure('TROP_INVALID_ARGUMENT', argument));
    }
    assert.equal(await call(registry, 'find', { path: '/w/none' }), null);
  });

  it('permit to change the project and the task, each its own', async () => {
    const key = { path: '/w/sticky' };
    await call(registry, 'reserve', { ...key, project: 'a', task: 'a' });
    const change = (options) => call(registry, 'reserve', { ...key, ...options });
    for (const [options, argument] of [
      [{ project: 'b', allowTaskChange: true }, 'project'],
      [{ task: 'b', allowProjectChange: true }, 'task'],
      [{ clearProject: true }, 'project'],
      [{ clearTask: true }, 'task'],
    ]) {
      await assert.rejects(change(options), failure('TROP_STICKY_FIELD', argument));
    }
    assert.equal((await change({ project: 'b', allowProjectChange: true })).project, 'b');
    assert.equal((await change({ task: 'b', allowTaskChange: true })).task, 'b');
    assert.equal((await change({ project: 'c', task: 'c', force: true })).task, 'c');
  });

  it('give an existing key a port anew', async () => {
    const key = { path: '/w/overwrite' };
    const { port } = await call(registry, 'reserve', { ...key, port: RANGE[0] + 50 });
    const wish = { ...key, port: RANGE[0] + 60 };
    assert.equal((await call(registry, 'reserve', wish)).port, port);
    assert.equal((await call(registry, 'reserve', { ...wish, overwrite: true })).port, RANGE[0] + 60);
    assert.equal(
      (await call(registry, 'reserve', { ...key, port: RANGE[0] + 61, force: true })).port,
      RANGE[0] + 61,
    );
  });

  it('take a preferred port that is excluded or in use', async (t) => {
    const port = await bound(t);
    const wide = { dataDir, ports: [1024, 65535], discovery: false, variables: false };
    const free = await open(wide);
    const excluding = await open({ ...wide, excluded: [port] });
    const refusal = async (registry, options) => {
      const { refusal } = await call(registry, 'reserve', {
        path: '/w/preferred',
        port,
        dryRun: true,
        ...options,
      });
      return refusal;
    };
    assert.equal(await refusal(free), 'occupied');
    assert.equal(await refusal(free, { ignoreExclusions: true }), 'occupied');
    assert.equal(await refusal(free, { ignoreOccupied: true }), null);
    assert.equal(await refusal(excluding), 'excluded');
    assert.equal(await refusal(excluding, { ignoreExclusions: true }), 'occupied');
    assert.equal(await refusal(excluding, { ignoreExclusions: true, ignoreOccupied: true }), null);
    assert.equal(await refusal(excluding, { force: true }), null);
  });

  it('choose the probes of one reservation, of a group, or of a registry', async (t) => {
    const directory = scratch(t);
    const wide = { dataDir, ports: [1024, 65535], discovery: false, variables: false };
    const all = await open(wide);
    const cases = [
      [{}, ['skipOccupancyCheck', 'skipTcp', 'skipIpv4']],
      [{ protocol: 'udp' }, ['skipOccupancyCheck', 'skipUdp', 'skipIpv4']],
      // Bound there, 127.0.0.1 is free but not all addresses at once.
      [{ address: '127.0.0.2' }, []],
    ];
    const server = net.createServer().listen(0, '::1');
    const hasIpv6 = await Promise.race([
      once(server, 'listening').then(() => true),
      once(server, 'error').then(() => false),
    ]);
    if (hasIpv6) {
      server.close();
      cases.push([{ address: '::1' }, ['skipOccupancyCheck', 'skipTcp', 'skipIpv6']]);
      cases.push([{ address: '::1', protocol: 'udp' }, ['skipOccupancyCheck', 'skipUdp', 'skipIpv6']]);
    }
    for (const [socket, granting] of cases) {
      const port = await bound(t, socket);
      const file = path.join(directory, 'group.yaml');
      const range = `ports: {min: ${RANGE[0]}, max: ${RANGE[1]}}\n`;
      fs.writeFileSync(file, `${range}reservations: {services: {web: {preferred: ${port}}}}\n`);
      for (const name of [
        'skipOccupancyCheck',
        'skipTcp',
        'skipUdp',
        'skipIpv4',
        'skipIpv6',
        'checkAllInterfaces',
      ]) {
        const isGranted =
          granting.includes(name) || (socket.address === '127.0.0.2' && name !== 'checkAllInterfaces');
        const message = `${JSON.stringify(socket)} ${name}`;
        const option = { [name]: true };
        const wish = { path: '/w/probes', port, dryRun: true };
        const one = await call(all, 'reserve', { ...wish, ...option });
        assert.equal(one.refusal, isGranted ? null : 'occupied', message);
        const group = await call(all, 'reserveGroup', { file, dryRun: true, ...option });
        assert.equal(group.web === port, isGranted, message);
        const registry = await open({ ...wide, ...option });
        const through = await call(registry, 'reserve', wish);
        assert.equal(through.refusal, isGranted ? null : 'occupied', message);
      }
    }
  });

  it('clean up an exhausted range, or leave it alone', async (t) => {
    const directory = scratch(t);
    const one = await open({ dataDir: path.join(directory, 'data'), ports: [28700, 28700], ...NO_PROBES });
    const wish = { path: '/w/new' };
    const untouched = async (options) => {
      const rows = await call(one, 'list');
      await assert.rejects(call(one, 'reserve', { ...wish, ...options }), failure('TROP_EXHAUSTED'));
      assert.deepEqual(await call(one, 'list'), rows);
    };

    const missing = await call(one, 'reserve', { path: path.join(directory, 'missing') });
    await untouched({ disableAutoprune: true });
    const { cleanup } = await call(one, 'reserve', { ...wish, disableAutoexpire: true });
    const { created, refusal, cleanup: none, ...row } = missing;
    assert.deepEqual(cleanup, { pruned: [row], expired: [], preserved: [], days: 30 });
    assert.equal(await call(one, 'release', wish), 1);

    const old = await call(one, 'reserve', { path: directory });
    await sql(one.dataDir, 'UPDATE reservations SET last_used_at = 86400');
    await untouched({ disableAutoexpire: true });
    const removed = (await call(one, 'reserve', { ...wish, disableAutoprune: true })).cleanup;
    assert.deepEqual(
      removed.expired.map(({ port, lastUsedAt }) => [port, +lastUsedAt]),
      [[old.port, 86400_000]],
    );
    assert.deepEqual(removed.pruned, []);
  });

  it('rehearse a reservation', async () => {
    const rows = await call(registry, 'list');
    const wish = { path: '/w/rehearsed', tag: 'web' };
    const first = await call(registry, 'reserve', { ...wish, dryRun: true });
    const { createdAt, lastUsedAt, ...rehearsed } = first;
    assert.deepEqual(await call(registry, 'list'), rows);
    const second = await call(registry, 'reserve', { ...wish, dryRun: false });
    const { createdAt: at, lastUsedAt: on, ...real } = second;
    assert.deepEqual(rehearsed, real);
  });

  it('guard against releasing a path that is unrelated to the working directory', async () => {
    await call(registry, 'reserve', { path: '/no/relative' });
    await assert.rejects(
      call(registry, 'release', { path: '/no/relative', allowUnrelatedPath: false }),
      failure('TROP_UNRELATED_PATH', 'path'),
    );
    assert.equal(await call(registry, 'release', { path: '/no/relative' }), 1);
  });

  it('release below a path, or only rehearse it', async () => {
    for (const place of ['/w/tree', '/w/tree/a', '/w/tree/a/b', '/w/trees']) {
      await call(registry, 'reserve', { path: place, tag: 'web' });
      await call(registry, 'reserve', { path: place });
    }
    const rows = await call(registry, 'list');
    assert.equal(await call(registry, 'release', { path: '/w/tree', dryRun: true, recursive: true }), 6);
    assert.deepEqual(await call(registry, 'list'), rows);
    assert.equal(
      await call(registry, 'release', { path: '/w/tree', recursive: true, untaggedOnly: true }),
      3,
    );
    assert.equal(await call(registry, 'release', { path: '/w/tree' }), 1);
    assert.equal(await call(registry, 'release', { path: '/w/tree', recursive: true }), 2);
    assert.equal(await call(registry, 'release', { path: '/w/trees' }), 2);
  });

  it('say which configuration a registry has', async (t) => {
    const directory = scratch(t);
    const dataDir = path.join(directory, 'data');
    const project = path.join(directory, 'project');
    fs.mkdirSync(path.join(project, 'deep'), { recursive: true });
    fs.mkdirSync(dataDir);
    fs.writeFileSync(path.join(project, 'trop.yaml'), 'project: found\nports: {min: 28710, max: 28711}\n');
    fs.writeFileSync(path.join(project, 'other.yaml'), 'project: named\n');
    fs.writeFileSync(path.join(dataDir, 'config.yaml'), 'ports: {min: 28720, max: 28721}\n');
    const variable = 'TROP_TASK';
    const [where, { [variable]: task, TROP_PORT_MIN, TROP_PORT_MAX }] = [process.cwd(), process.env];
    t.after(() => {
      process.chdir(where);
      Object.assign(process.env, { TROP_PORT_MIN, TROP_PORT_MAX });
      if (task === undefined) delete process.env[variable];
      else process.env[variable] = task;
    });
    // The range of the suite would weigh more than those of the files.
    delete process.env.TROP_PORT_MIN;
    delete process.env.TROP_PORT_MAX;
    process.chdir(path.join(project, 'deep'));
    process.env[variable] = 'variable';
    let tag = 0;
    const row = async (options) => {
      const registry = await open({ dataDir, ...NO_PROBES, ...options });
      const { port, project, task } = await call(registry, 'reserve', { path: '/w/of', tag: `${tag++}` });
      await call(registry, 'releasePort', port);
      registry.close();
      return [port, project, task];
    };
    assert.deepEqual(await row(), [28710, 'found', 'variable']);
    assert.deepEqual(await row({ variables: false }), [28710, 'found', null]);
    assert.deepEqual(await row({ discovery: false, variables: false }), [5000, null, null]);
    assert.deepEqual(await row({ configFile: '../other.yaml' }), [28720, 'named', 'variable']);
    assert.deepEqual(await row({ startDir: directory }), [28720, null, 'variable']);
    process.chdir('/');
    assert.deepEqual(await row({ startDir: path.join(project, 'deep') }), [28710, 'found', 'variable']);
    assert.deepEqual(await row({ discovery: true, ports: [28730, 28730] }), [28730, null, 'variable']);

    const file = path.join(project, 'trop.yaml');
    for (const [options, argument] of [
      [{ discovery: false, startDir: project }, 'discovery'],
      [{ discovery: false, configFile: file }, 'discovery'],
      [{ startDir: project, configFile: file }, 'configFile'],
      [{ configFile: path.join(directory, 'missing.yaml') }, 'configFile'],
      [{ configFile: directory }, 'configFile'],
      [{ configFile: 'a\0b' }, 'configFile'],
      [{ configFile: '' }, 'configFile'],
      [{ startDir: path.join(directory, 'missing') }, 'startDir'],
      [{ startDir: 'a\0b' }, 'startDir'],
      [{ startDir: '' }, 'startDir'],
    ]) {
      await assert.rejects(open({ dataDir, ...options }), failure('TROP_INVALID_ARGUMENT', argument));
    }
    fs.writeFileSync(file, 'ports: {min: 0}\n');
    await assert.rejects(open({ dataDir, configFile: file }), failure('TROP_CONFIG', 'ports.min'));
  });
});

bothWays('wrong options', (call, open) => {
  const TEXT = [7, null, {}, [], true, Symbol('x'), '\ud800', 'x\udfff'];
  const FLAG = [0, 1, 'true', null, {}];
  const PORT = [
    ...['80', null, 80n, [80], true],
    ...[NaN, 1.5, Infinity, 2 ** 60, 0, -1, 65536, 2 ** 32, 2 ** 32 + 80],
  ];
  const DAYS = ['1', null, 1n, NaN, 1.5, -1, 0, 2 ** 32, 2 ** 32 + 1, Infinity];
  const PROBES = [
    'skipOccupancyCheck',
    'skipTcp',
    'skipUdp',
    'skipIpv4',
    'skipIpv6',
    'checkAllInterfaces',
  ];
  const PERMISSIONS = ['allowUnrelatedPath', 'allowProjectChange', 'allowTaskChange', 'force'];
  /** What comes before the options of a call, and the options by what they may not be. */
  const CALLS = {
    reserve: [
      [],
      { texts: ['path', 'project', 'task'], ports: ['port', 'min', 'max'] },
      [
        'clearProject',
        'clearTask',
        'overwrite',
        'ignoreOccupied',
        'ignoreExclusions',
        ...PERMISSIONS,
        ...PROBES,
      ],
      ['disableAutoprune', 'disableAutoexpire', 'dryRun'],
    ],
    reserveGroup: [[], { texts: ['file', 'task', 'by'] }, PERMISSIONS, PROBES, ['dryRun']],
    release: [[], { texts: ['path', 'tag'] }, ['untaggedOnly', 'recursive', 'allowUnrelatedPath', 'dryRun']],
    releasePort: [[28000], {}, ['dryRun']],
    find: [[], { texts: ['path'] }],
    list: [[], { texts: ['project', 'tag', 'path'] }],
    prune: [[], {}, ['dryRun']],
    expire: [[], { days: ['days'] }, ['dryRun']],
    autoclean: [[], { days: ['days'] }, ['dryRun']],
    migrate: [['/w/bad', '/w/to'], {}, ['recursive', 'force', 'dryRun']],
    scan: [[], { ports: ['min', 'max'] }],
  };

  it('are refused with their name, and nothing changes', async (t) => {
    const registry = await open({ dataDir: path.join(scratch(t), 'data'), ports: RANGE, ...NO_PROBES });
    await call(registry, 'reserve', { path: '/w/bad' });
    const rows = await call(registry, 'list');
    const refused = async (argument, name, ...args) => {
      await assert.rejects(call(registry, name, ...args), failure('TROP_INVALID_ARGUMENT', argument));
    };
    for (const [name, [before, { texts = [], ports = [], days = [] }, ...flags]] of Object.entries(CALLS)) {
      const wrong = [
        ...texts.flatMap((option) => TEXT.map((value) => [option, value])),
        ...ports.flatMap((option) => PORT.map((value) => [option, value])),
        ...days.flatMap((option) => DAYS.map((value) => [option, value])),
        ...flags.flat().flatMap((option) => FLAG.map((value) => [option, value])),
        ['nonsense', 1],
        ['__proto__x', 1],
        ['toString', 1],
      ];
      for (const [option, value] of wrong) await refused(option, name, ...before, { [option]: value });
      for (const options of [null, 'x', 7, [], () => {}]) await refused('options', name, ...before, options);
    }
    for (const value of [undefined, ...PORT]) {
      await refused('port', 'releasePort', value);
      await refused('port', 'findPort', value);
    }
    for (const value of [undefined, ...TEXT, '', 'a\0b', '/..']) {
      await refused('from', 'migrate', value, '/w/to');
      await refused('to', 'migrate', '/w/bad', value);
    }
    for (const tag of [...TEXT.filter((value) => value !== null), '', 'a\0b', 'x'.repeat(256)]) {
      await refused('tag', 'find', { tag });
    }
    for (const place of ['', 'a\0b', '/..', '~nobody/x']) {
      await refused('path', 'find', { path: place });
      await refused('path', 'list', { path: place });
    }
    await refused('by', 'reserveGroup', { by: 'name' });
    await refused('file', 'reserveGroup', { file: 'a\0b' });
    await refused('file', 'reserveGroup', { file: '' });
    assert.deepEqual(await call(registry, 'list'), rows);
    for (const value of [undefined, ...TEXT, '', 'a\0b', '/missing/trop.yaml', '/']) {
      await assert.rejects(call(trop, 'validateConfig', value), failure('TROP_INVALID_ARGUMENT', 'file'));
    }
  });

  it('are refused when a registry is opened', async (t) => {
    const dataDir = path.join(scratch(t), 'data');
    for (const [option, values] of [
      ...['discovery', 'variables', ...PROBES].map((name) => [name, FLAG]),
      ...['startDir', 'configFile'].map((name) => [name, TEXT]),
    ]) {
      for (const value of values) {
        await assert.rejects(open({ dataDir, [option]: value }), failure('TROP_INVALID_ARGUMENT', option));
      }
    }
    assert.ok(!fs.existsSync(dataDir));
  });
});
