'use strict';

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { setImmediate } = require('node:timers/promises');
const { it } = require('node:test');
const trop = require('trop');
const { ROOT, scratch, lock, failure } = require('./support');

/** Turns of the event loop; none happens while a call blocks it. */
async function turns(count) {
  for (let turn = 0; turn < count; turn++) await setImmediate();
}

it('keeps the event loop running while another process holds the lock', async (t) => {
  const directory = scratch(t);
  const dataDir = path.join(directory, 'data');
  const file = path.join(scratch(t), 'trop.yaml');
  fs.writeFileSync(file, 'reservations: {services: {web: {}}}');
  const registry = new trop.Registry({ dataDir, ports: [28200, 28299], busyTimeout: 60_000 });
  // In directories that exist, so that pruning does not come before the others.
  const { port } = registry.reserve({ path: __dirname });
  registry.reserve({ path: directory });
  const locker = await lock(t, dataDir);
  let settled = 0;
  // More than the pool has threads.
  const calls = [
    registry.reserveAsync({ path: '/w/new' }),
    registry.reserveGroupAsync({ file }),
    registry.releaseAsync({ path: '/w/none' }),
    registry.releasePortAsync(port),
    registry.migrateAsync(directory, '/w/to'),
    registry.pruneAsync(),
    registry.expireAsync(),
    registry.autocleanAsync(),
    trop.Registry.openAsync({ dataDir, busyTimeout: 60_000 }).then((other) =>
      other.releaseAsync({ path: '/w/none' }),
    ),
  ];
  for (const call of calls) call.then(() => settled++);
  await turns(1000);
  assert.equal(settled, 0);
  locker.unlock();
  const [reserved, group, released, wasReserved, migration, pruned, expired, cleaned, none] =
    await Promise.all(calls);
  assert.ok(reserved.created && wasReserved && group.web > 0);
  assert.deepEqual([released, none, migration.moves.length], [0, 0, 1]);
  assert.deepEqual([pruned.expired, expired.expired, cleaned.expired], [[], [], []]);
});

it('keeps the event loop running while it scans', async (t) => {
  const registry = new trop.Registry({ dataDir: path.join(scratch(t), 'data') });
  let turned = 0;
  let scanned;
  const scan = registry.scanAsync({ min: 28000, max: 28999 }).finally(() => (scanned = true));
  while (!scanned) {
    await setImmediate();
    turned++;
  }
  assert.ok(Array.isArray(await scan));
  assert.ok(turned > 1);
});

it('closes while a call waits', async (t) => {
  const dataDir = path.join(scratch(t), 'data');
  const registry = new trop.Registry({ dataDir, busyTimeout: 60_000 });
  const locker = await lock(t, dataDir);
  const calls = Promise.allSettled([
    registry.reserveAsync({ path: '/w/a' }),
    registry.reserveAsync({ path: '/w/b' }),
  ]);
  await turns(100);
  registry.close();
  await assert.rejects(registry.listAsync(), failure('TROP_CLOSED'));
  locker.unlock();
  // The one that had begun goes on, the others find the registry closed.
  for (const { status, value, reason } of await calls) {
    if (status === 'fulfilled') assert.ok(value.created);
    else failure('TROP_CLOSED')(reason);
  }
});

it('resolves paths and the data directory at the call, not when a thread is free', async (t) => {
  const directory = scratch(t);
  const dataDir = path.join(directory, 'data');
  fs.mkdirSync(path.join(directory, 'group'));
  fs.writeFileSync(path.join(directory, 'group', 'trop.yaml'), 'reservations: {services: {web: {}}}');
  new trop.Registry({ dataDir }).close();
  const locker = await lock(t, dataDir);
  const script = `
    const trop = require(${JSON.stringify(ROOT)});
    const [directory, dataDir] = ${JSON.stringify([directory, dataDir])};
    process.env.TROP_DATA_DIR = dataDir;
    // The only thread of the pool is busy until the lock is released.
    const first = new trop.Registry({ busyTimeout: 60_000, create: false });
    const calls = [
      first.reserveAsync({ path: '/w/first' }),
      trop.reserveAsync({ tag: 'default' }),
      trop.reserveAsync({ path: 'relative' }),
      trop.releaseAsync({ path: 'other' }),
      trop.listAsync(),
      trop.Registry.openAsync({ dataDir: 'data' }).then(({ dataDir }) => dataDir),
      trop.listAsync({ path: 'relative' }),
      trop.findAsync({ path: 'relative' }),
      trop.findAsync({ tag: 'default' }),
      trop.reserveGroupAsync({ file: 'group/trop.yaml', dryRun: true }),
      trop.migrateAsync('relative', 'moved', { dryRun: true }),
      trop.validateConfigAsync('group/trop.yaml'),
    ];
    process.env.TROP_DATA_DIR = '/nonexistent/elsewhere';
    process.chdir('/');
    console.log('called');
    process.stdin.on('end', async () => console.log(JSON.stringify(await Promise.all(calls)))).resume();
  `;
  const child = spawn(process.execPath, ['-e', script], {
    cwd: directory,
    env: { ...process.env, UV_THREADPOOL_SIZE: '1' },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => child.kill());
  let output = '';
  for await (const data of child.stdout) {
    if (output === '') {
      locker.unlock();
      child.stdin.end();
    }
    output += data;
  }
  const [
    first,
    byDefault,
    relative,
    released,
    listed,
    opened,
    filtered,
    found,
    foundByDefault,
    group,
    moved,
    problems,
  ] = JSON.parse(output.replace('called\n', ''));
  assert.equal(first.path, '/w/first');
  assert.equal(byDefault.path, directory);
  assert.equal(relative.path, path.join(directory, 'relative'));
  assert.equal(released, 0);
  assert.deepEqual(listed.map((row) => row.path), [first.path, byDefault.path, relative.path].sort());
  assert.equal(opened, dataDir);
  assert.deepEqual(filtered.map((row) => row.path), [relative.path]);
  assert.deepEqual([found.path, foundByDefault.path], [relative.path, directory]);
  assert.deepEqual(Object.keys(group), ['web']);
  assert.deepEqual([moved.from, moved.to], [relative.path, path.join(directory, 'moved')]);
  assert.deepEqual(problems, []);
});

it('runs many calls at once', async (t) => {
  const dataDir = path.join(scratch(t), 'data');
  const registry = await trop.Registry.openAsync({
    dataDir,
    ports: [28300, 28399],
    skipOccupancyCheck: true,
  });
  const calls = Array.from({ length: 100 }, (_, tag) =>
    registry.reserveAsync({ path: '/w/many', tag: `${tag}` }),
  );
  const ports = (await Promise.all(calls)).map(({ port }) => port);
  assert.equal(new Set(ports).size, 100);
  assert.equal((await registry.listAsync()).length, 100);
});

it('points at the caller in the stack of an error', async () => {
  async function caller() {
    await trop.reserveAsync({ port: 0 });
  }
  await assert.rejects(caller(), ({ stack }) => stack.includes('caller'));
});
