'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { once } = require('node:events');
const { describe, it, before, after } = require('node:test');
const trop = require('trop');
const { bothWays, scratch, lock, failure } = require('./support');

const RANGE = [28000, 28099];
const DEFAULT = process.env.TROP_DATA_DIR;

bothWays('reserve, release and list', (call, open) => {
  const dataDir = path.join(scratch({ after }), 'data');
  let registry;

  before(async () => {
    registry = await open({ dataDir, ports: RANGE });
  });

  it('reserves the same port for the same key', async () => {
    const started = Date.now();
    const first = await call(registry, 'reserve', { path: '/w/app', tag: 'web' });
    assert.ok(first.port >= RANGE[0] && first.port <= RANGE[1]);
    const { port, createdAt, lastUsedAt, ...rest } = first;
    assert.deepEqual(rest, {
      path: '/w/app',
      tag: 'web',
      project: null,
      task: null,
      created: true,
      refusal: null,
      cleanup: null,
    });
    assert.ok(createdAt instanceof Date && Math.abs(createdAt - started) < 60_000);
    assert.deepEqual(lastUsedAt, createdAt);

    const second = await call(registry, 'reserve', { path: '/w/x/../app/', tag: ' web ' });
    assert.equal(second.port, port);
    assert.equal(second.created, false);
  });

  it('takes the working directory and no tag by default', async () => {
    const reserved = await call(registry, 'reserve');
    assert.equal(reserved.path, fs.realpathSync(process.cwd()));
    assert.equal(reserved.tag, null);
    assert.equal(await call(registry, 'release'), 1);
  });

  it('tells why a preferred port was not used', async () => {
    const taken = await call(registry, 'reserve', { path: '/w/app', tag: 'web' });
    const refusal = async (tag, port, options) =>
      (await call(registry, 'reserve', { path: '/w/preferred', tag, port, ...options })).refusal;
    assert.equal(await refusal('1', taken.port), 'reserved');
    assert.equal(await refusal('2', 30000), 'outside_range');
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address();
    assert.equal(await refusal('3', port, { min: 1024, max: 65535 }), 'occupied');
    server.close();
    assert.equal(await call(registry, 'release', { path: '/w/preferred' }), 3);
  });

  it('lists, and what it lists can be asked for again', async () => {
    await call(registry, 'reserve', { path: '/w/list' });
    await call(registry, 'reserve', { path: '/w/list', tag: 'api' });
    const rows = (await call(registry, 'list')).filter((row) => row.path === '/w/list');
    assert.deepEqual(rows.map((row) => row.tag), [null, 'api']);
    for (const { path, tag, port } of rows) {
      assert.equal((await call(registry, 'reserve', { path, tag })).port, port);
    }
    assert.equal(await call(registry, 'release', { path: '/w/list', untaggedOnly: true }), 1);
    assert.equal(await call(registry, 'release', { path: '/w/list', tag: 'api' }), 1);
    assert.equal(await call(registry, 'release', { path: '/w/list' }), 0);
  });

  it('refuses bad requests and changes nothing', async () => {
    const rows = await call(registry, 'list');
    const bad = [
      ...[0, 70000, -1, 1.5, NaN, Infinity, 2 ** 60, 1e300, '80', null, 80n, [80], true].map((port) => ({
        port,
      })),
      { min: 0 },
      { max: 65536 },
      { min: 29000, max: 28000 },
      ...['', ' ', 'x'.repeat(300), 'a\0b', '\ud800', 'x\udfff', 7, {}, Symbol('tag')].map((tag) => ({
        tag,
      })),
      ...['', 'a\0b', '/..', '~nobody/x', '/\udcff', null, 7].map((path) => ({ path })),
      ...[1, 'true', null].map((allowUnrelatedPath) => ({ allowUnrelatedPath })),
      { tga: 'web' },
      { '$&': 'web' },
    ];
    for (const options of bad) {
      const argument = Object.keys(options)[0];
      await assert.rejects(
        async () => call(registry, 'reserve', { path: '/w/bad', ...options }),
        failure('TROP_INVALID_ARGUMENT', argument),
      );
    }
    for (const [options, argument] of [
      [{ tag: 'x', untaggedOnly: true }, 'untaggedOnly'],
      [{ untaggedOnly: 1 }, 'untaggedOnly'],
      [{ tag: null }, 'tag'],
      [{ tag: '\ud800' }, 'tag'],
      [{ path: 7 }, 'path'],
      [{ port: 28000 }, 'port'],
    ]) {
      await assert.rejects(
        async () => call(registry, 'release', options),
        failure('TROP_INVALID_ARGUMENT', argument),
      );
    }
    for (const options of [null, 'path', 7, ['path'], () => {}]) {
      for (const name of ['reserve', 'release']) {
        await assert.rejects(
          async () => call(registry, name, options),
          failure('TROP_INVALID_ARGUMENT', 'options'),
        );
      }
    }
    assert.deepEqual(await call(registry, 'list'), rows);
  });

  it('refuses bad options of a registry and creates nothing', async (t) => {
    const dataDir = path.join(scratch(t), 'data');
    for (const options of [
      ...[[9000, 8000], [0, 1], [1], [], [1, 2, 3], ['1', '2'], [1.5, 2], '1..2', { 0: 1, 1: 2 }, null].map(
        (ports) => ({ ports }),
      ),
      ...['5005', [0], [70000], [1.5], [NaN], ['x'], ['5..4'], [null], [, 1], [{}], [2 ** 60]].map(
        (excluded) => ({
          excluded,
        }),
      ),
      ...[-1, NaN, Infinity, 0.5, 2 ** 60, 1e300, '5', null, 5n, 2_147_484_000].map((busyTimeout) => ({
        busyTimeout,
      })),
      ...['create', 'skipOccupancyCheck', 'skipTcp', 'checkAllInterfaces'].map((name) => ({ [name]: 1 })),
      { dataDri: 'x' },
      { data_dir: 'x' },
    ]) {
      const argument = Object.keys(options)[0];
      await assert.rejects(open({ dataDir, ...options }), failure('TROP_INVALID_ARGUMENT', argument));
    }
    for (const dataDir of ['', 'a\0b', '/\ud800', 7, null]) {
      await assert.rejects(open({ dataDir }), failure('TROP_INVALID_ARGUMENT', 'dataDir'));
    }
    await assert.rejects(open('data'), failure('TROP_INVALID_ARGUMENT', 'options'));
    assert.ok(!fs.existsSync(dataDir));
  });

  it('has a code for everything that can go wrong', async (t) => {
    const directory = scratch(t);
    const file = path.join(directory, 'file');
    fs.writeFileSync(file, '');
    await assert.rejects(open({ dataDir: path.join(directory, 'none'), create: false }), (error) => {
      assert.equal(error.number, -11);
      return failure('TROP_NO_DATA_DIR', 'dataDir')(error);
    });
    await assert.rejects(open({ dataDir: file }), (error) => {
      assert.ok(error.errno > 0);
      return failure('TROP_IO', 'dataDir')(error);
    });
    const garbage = path.join(directory, 'garbage');
    fs.mkdirSync(garbage);
    fs.writeFileSync(path.join(garbage, 'trop.db'), 'no database'.repeat(1000));
    await assert.rejects(open({ dataDir: garbage }), failure('TROP_CORRUPT', 'dataDir'));

    await assert.rejects(async () => call(registry, 'reserve', { path: '/w/one', min: 30000 }), {
      code: 'TROP_CONFIG',
    });
    await assert.rejects(
      async () => call(registry, 'reserve', { path: '/no/relative', allowUnrelatedPath: false }),
      failure('TROP_UNRELATED_PATH', 'path'),
    );
    const small = await open({ dataDir, ports: [28100, 28101], excluded: [28100, '28101..28101'] });
    await assert.rejects(async () => call(small, 'reserve', { path: '/w/one' }), (error) => {
      assert.ok(error instanceof trop.TropError && error instanceof Error);
      assert.deepEqual(Object.keys(error), ['code', 'number']);
      assert.equal(error.number, -2);
      assert.match(error.message, /2 excluded/);
      return failure('TROP_EXHAUSTED')(error);
    });

    const impatient = await open({ dataDir, busyTimeout: 0 });
    const locker = await lock(t, dataDir);
    await assert.rejects(async () => call(impatient, 'reserve', { path: '/w/two' }), failure('TROP_BUSY'));
    locker.unlock();
  });

  it('closes', async () => {
    const registry = await open({ dataDir, ports: RANGE });
    assert.equal(registry.closed, false);
    registry.close();
    registry.close();
    assert.equal(registry.closed, true);
    assert.equal(registry.dataDir, dataDir);
    for (const name of ['reserve', 'release', 'list']) {
      await assert.rejects(async () => call(registry, name), failure('TROP_CLOSED'));
    }
  });
});

describe('the module', () => {
  it('follows TROP_DATA_DIR and the working directory of each call', (t) => {
    const [one, two] = [scratch(t), scratch(t)];
    const [before, where] = [process.env.TROP_DATA_DIR, process.cwd()];
    t.after(() => {
      process.chdir(where);
      process.env.TROP_DATA_DIR = before;
    });
    process.env.TROP_DATA_DIR = path.join(one, 'data');
    trop.reserve({ path: '/w/one' });
    process.env.TROP_DATA_DIR = path.join(two, 'data');
    process.chdir(two);
    assert.equal(trop.reserve({ tag: 'here', allowUnrelatedPath: false }).path, two);
    assert.deepEqual(trop.list().map((row) => row.path), [two]);
    process.env.TROP_DATA_DIR = path.join(one, 'data');
    assert.deepEqual(trop.list().map((row) => row.path), ['/w/one']);
    process.env.TROP_DATA_DIR = '';
    assert.throws(() => trop.list(), failure('TROP_INVALID_ARGUMENT', 'dataDir'));
  });

  it('has every call', (t) => {
    const directory = scratch(t);
    const [before, where] = [process.env.TROP_DATA_DIR, process.cwd()];
    t.after(() => {
      process.chdir(where);
      process.env.TROP_DATA_DIR = before;
    });
    process.env.TROP_DATA_DIR = path.join(directory, 'data');
    process.chdir(directory);
    fs.writeFileSync('trop.yaml', 'project: shop\nreservations: {services: {web: {}}}\n');
    const { web } = trop.reserveGroup();
    assert.equal(trop.find({ tag: 'web' }).port, web);
    assert.equal(trop.findPort(web).path, directory);
    assert.deepEqual(trop.projects(), ['shop']);
    for (const name of ['prune', 'expire', 'autoclean']) assert.deepEqual(trop[name]().pruned, []);
    assert.equal(trop.migrate('.', 'moved').moves[0].to, path.join(directory, 'moved'));
    assert.deepEqual(trop.scan({ min: web, max: web }), []);
    assert.equal(trop.releasePort(web), true);
    assert.equal(trop.validateDatabase(), undefined);
  });

  it('rejects and never throws from asynchronous calls', async () => {
    const names = Object.keys(trop).filter((name) => name.endsWith('Async'));
    for (const call of [...names.map((name) => trop[name]), trop.Registry.openAsync]) {
      process.env.TROP_DATA_DIR = '';
      const promise = call(null, null, null);
      process.env.TROP_DATA_DIR = DEFAULT;
      assert.ok(promise instanceof Promise);
      await assert.rejects(promise, { code: 'TROP_INVALID_ARGUMENT' });
    }
  });

  it('disposes of a registry', { skip: !Symbol.dispose }, (t) => {
    const registry = new trop.Registry({ dataDir: path.join(scratch(t), 'data') });
    registry[Symbol.dispose]();
    assert.ok(registry.closed);
    assert.deepEqual(Object.keys(trop.Registry.prototype), []);
  });
});
