'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { once } = require('node:events');
const { it } = require('node:test');
const trop = require('trop');
const { bothWays, scratch, sql, lock, failure } = require('./support');

const RANGE = [28800, 28899];

bothWays('looking up, cleaning up and moving', (call, open) => {
  /** A registry of the test's own. */
  const fresh = (t, options) =>
    open({
      dataDir: path.join(scratch(t), 'data'),
      ports: RANGE,
      skipOccupancyCheck: true,
      discovery: false,
      variables: false,
      ...options,
    });

  /** Reserves, and returns the reservation as it is listed. */
  const reserve = async (registry, options) => {
    const { created, refusal, cleanup, ...row } = await call(registry, 'reserve', options);
    return row;
  };

  it('finds by key and by port', async (t) => {
    const registry = await fresh(t);
    const web = await reserve(registry, { path: '/w/a', tag: 'web', project: 'shop', task: 'cart' });
    const plain = await reserve(registry, { path: '/w/a' });
    const here = await reserve(registry);
    assert.deepEqual(await call(registry, 'find', { path: '/w/a', tag: ' web ' }), web);
    assert.deepEqual(await call(registry, 'find', { path: '/w/x/../a', tag: null }), plain);
    assert.deepEqual(await call(registry, 'find'), here);
    assert.equal(await call(registry, 'find', { path: '/w/a', tag: 'api' }), null);
    assert.equal(await call(registry, 'find', { path: '/w' }), null);
    assert.deepEqual(await call(registry, 'findPort', web.port), web);
    assert.equal(await call(registry, 'findPort', 1), null);
  });

  it('lists what is asked for, and the projects', async (t) => {
    const registry = await fresh(t);
    assert.deepEqual(await call(registry, 'projects'), []);
    for (const [path, tag, project] of [
      ['/w/a', 'web', 'zebra'],
      ['/w/a/b', 'api', 'Alpha'],
      ['/w/ab', 'web', 'Alpha'],
      ['/w/ab', undefined, undefined],
    ]) {
      await reserve(registry, { path, tag, project });
    }
    const listed = async (options) =>
      (await call(registry, 'list', options)).map(({ path, tag }) => `${path} ${tag}`);
    assert.deepEqual(await listed(), ['/w/a web', '/w/a/b api', '/w/ab null', '/w/ab web']);
    assert.deepEqual(await listed({ project: 'Alpha' }), ['/w/a/b api', '/w/ab web']);
    assert.deepEqual(await listed({ tag: 'web' }), ['/w/a web', '/w/ab web']);
    assert.deepEqual(await listed({ path: '/w/a' }), ['/w/a web', '/w/a/b api']);
    assert.deepEqual(await listed({ path: '/w/x/../ab', tag: 'web', project: 'Alpha' }), ['/w/ab web']);
    assert.deepEqual(await listed({ project: ' Alpha' }), []);
    assert.deepEqual(await call(registry, 'projects'), ['Alpha', 'zebra']);
  });

  it('releases a port whatever its path', async (t) => {
    const registry = await fresh(t);
    const row = await reserve(registry, { path: '/w/a', tag: 'web' });
    assert.equal(await call(registry, 'releasePort', row.port, { dryRun: true }), true);
    assert.deepEqual(await call(registry, 'list'), [row]);
    assert.equal(await call(registry, 'releasePort', row.port), true);
    assert.equal(await call(registry, 'releasePort', row.port), false);
    assert.equal(await call(registry, 'releasePort', row.port, { dryRun: true }), false);
    assert.deepEqual(await call(registry, 'list'), []);
  });

  it('prunes, expires, and does both', async (t) => {
    const directory = scratch(t);
    const registry = await fresh(t);
    const missing = path.join(directory, 'missing');
    const loop = path.join(directory, 'loop');
    fs.symlinkSync(loop, loop);
    const gone = await reserve(registry, { path: missing });
    await reserve(registry, { path: loop });
    await reserve(registry, { path: directory });
    const days = (count) => Math.floor(Date.now() / 1000) - count * 86400 - 3600;
    await sql(
      registry.dataDir,
      `UPDATE reservations SET last_used_at = ${days(40)} WHERE path = '${directory}'`,
    );
    await sql(registry.dataDir, `UPDATE reservations SET last_used_at = ${days(5)} WHERE path = '${loop}'`);
    const rows = await call(registry, 'list');
    const old = await call(registry, 'find', { path: directory });
    const looping = await call(registry, 'find', { path: loop });

    const preserved = [{ path: loop, cause: 'symlink loop' }];
    const nothing = { pruned: [], expired: [], preserved: [], days: 30 };
    const dry = { dryRun: true };
    assert.deepEqual(await call(registry, 'prune', dry), { ...nothing, pruned: [gone], preserved });
    assert.deepEqual(await call(registry, 'expire', dry), { ...nothing, expired: [old] });
    assert.deepEqual(await call(registry, 'expire', { ...dry, days: 4 }), {
      ...nothing,
      expired: [old, looping],
      days: 4,
    });
    const both = { ...nothing, pruned: [gone], expired: [old], preserved };
    assert.deepEqual(await call(registry, 'autoclean', dry), both);
    assert.deepEqual(await call(registry, 'autoclean', { ...dry, days: 4 }), {
      ...both,
      expired: [old, looping],
      preserved: [],
      days: 4,
    });
    assert.deepEqual(await call(registry, 'list'), rows);

    assert.deepEqual(await call(registry, 'expire', { days: 100 }), { ...nothing, days: 100 });
    assert.deepEqual(await call(registry, 'prune'), { ...nothing, pruned: [gone], preserved });
    assert.deepEqual(await call(registry, 'expire'), { ...nothing, expired: [old] });
    await reserve(registry, { path: missing });
    assert.equal((await call(registry, 'autoclean', { days: 4 })).expired.length, 1);
    assert.deepEqual(await call(registry, 'list'), []);
    assert.equal((await call(registry, 'expire', { days: 2 ** 32 - 1 })).days, 2 ** 32 - 1);
  });

  it('moves reservations', async (t) => {
    const registry = await fresh(t);
    const top = await reserve(registry, { path: '/w/from', tag: 'web', project: 'shop' });
    const below = await reserve(registry, { path: '/w/from/below' });
    const other = await reserve(registry, { path: '/w/to', tag: 'web' });
    const rows = await call(registry, 'list');

    await assert.rejects(call(registry, 'migrate', '/w/none', '/w/to'), failure('TROP_NOT_FOUND'));
    await assert.rejects(call(registry, 'migrate', '/w/from', '/w/to'), failure('TROP_CONFLICT'));
    const dry = { dryRun: true };
    await assert.rejects(call(registry, 'migrate', '/w/from', '/w/to', dry), failure('TROP_CONFLICT'));
    const moved = { from: '/w/from', to: '/w/to', moves: [{ ...top, to: '/w/to' }], conflicts: [other] };
    assert.deepEqual(await call(registry, 'migrate', '/w/from', '/w/to', { ...dry, force: true }), moved);
    assert.deepEqual(await call(registry, 'list'), rows);
    assert.deepEqual(await call(registry, 'migrate', '/w/from/', '/w/x/../to', { force: true }), moved);
    assert.deepEqual(await call(registry, 'list'), [below, { ...top, path: '/w/to' }]);

    const tree = await call(registry, 'migrate', '/w/from', '/w/tree', { recursive: true });
    assert.deepEqual(tree.moves, [{ ...below, to: '/w/tree/below' }]);
    const empty = { from: '/w/none', to: '/w/x', moves: [], conflicts: [] };
    assert.deepEqual(await call(registry, 'migrate', '/w/none', '/w/x', { recursive: true }), empty);
  });

  it('scans', async (t) => {
    const server = net.createServer().listen(0, '127.0.0.1');
    t.after(() => server.close());
    await once(server, 'listening');
    const { port } = server.address();
    const registry = await fresh(t, { skipOccupancyCheck: false });
    const finding = {
      port,
      status: 'occupied',
      reserved: false,
      protocol: 'tcp',
      addressFamily: 'ipv4',
      scope: 'localhost',
      address: '127.0.0.1',
    };
    const scanned = async (registry) => {
      const found = await call(registry, 'scan', { min: port, max: port });
      return found.map(({ processId, processName, user, ownerStatus, ...rest }) => {
        // Whose socket it is can be told only where the system tells.
        const known = [processId, processName, user].filter((value) => value !== null).length;
        assert.equal(ownerStatus, ['unavailable', 'partial', 'partial', 'available'][known]);
        assert.ok(processId === null || processId === process.pid);
        return rest;
      });
    };
    assert.deepEqual(await scanned(registry), [finding]);
    await reserve(registry, { path: '/w/scan', port, min: 1024, max: 65535, ignoreOccupied: true });
    assert.deepEqual(await scanned(registry), [
      { ...finding, status: 'occupied (reserved)', reserved: true },
    ]);
    const byDefault = await fresh(t, { skipOccupancyCheck: false, ports: [port, port] });
    assert.equal((await call(byDefault, 'scan')).length, 1);
    assert.deepEqual(await call(await fresh(t), 'scan', { min: port, max: port }), []);
    await assert.rejects(call(registry, 'scan', { min: 28001, max: 28000 }), failure('TROP_CONFIG', 'ports'));
  });

  it('validates a configuration file', async (t) => {
    const file = path.join(scratch(t), 'trop.yaml');
    fs.writeFileSync(file, '');
    assert.deepEqual(await call(trop, 'validateConfig', file), []);
    fs.writeFileSync(file, 'ports:\n  min: 0\nnonsense: 1\n');
    const problems = await call(trop, 'validateConfig', file);
    assert.deepEqual(
      problems.map(({ path, line, reason }) => [path, line, typeof reason]),
      [
        [file, 2, 'string'],
        [file, 3, 'string'],
      ],
    );
    assert.equal(problems[0].field, 'ports.min');
  });

  it('validates the database', async (t) => {
    const registry = await fresh(t);
    assert.equal(await call(registry, 'validateDatabase'), undefined);
    await sql(registry.dataDir, 'DROP INDEX idx_reservations_project');
    await assert.rejects(call(registry, 'validateDatabase'), (error) => {
      assert.match(error.message, /idx_reservations_project/);
      return failure('TROP_CORRUPT', 'dataDir')(error);
    });
  });

  it('looks and rehearses while another process holds the lock', async (t) => {
    const registry = await fresh(t, { busyTimeout: 0 });
    const { port } = await reserve(registry, { path: '/w/held' });
    const locker = await lock(t, registry.dataDir);
    for (const [name, ...args] of [
      ['reserve', { path: '/w/new' }],
      ['release', { path: '/w/held' }],
      ['releasePort', port],
      ['prune'],
      ['expire'],
      ['autoclean'],
      ['migrate', '/w/held', '/w/to'],
    ]) {
      await assert.rejects(call(registry, name, ...args), failure('TROP_BUSY'), name);
      // The options are the last argument, if not the only one.
      const options = typeof args.at(-1) === 'object' ? args.pop() : {};
      await call(registry, name, ...args, { ...options, dryRun: true });
    }
    assert.equal((await call(registry, 'list')).length, 1);
    assert.notEqual(await call(registry, 'findPort', port), null);
    locker.unlock();
  });

  it('is over when the registry is closed', async (t) => {
    const registry = await fresh(t);
    registry.close();
    for (const [name, ...args] of [
      ['reserve'],
      ['reserve', { dryRun: true }],
      ['reserveGroup', { file: __filename, dryRun: true }],
      ['release'],
      ['releasePort', 28000],
      ['find'],
      ['findPort', 28000],
      ['list'],
      ['projects'],
      ['prune'],
      ['expire'],
      ['autoclean', { dryRun: true }],
      ['migrate', '/w/a', '/w/b'],
      ['scan'],
      ['validateDatabase'],
    ]) {
      await assert.rejects(call(registry, name, ...args), failure('TROP_CLOSED'), name);
    }
  });
});
