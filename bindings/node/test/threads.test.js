'use strict';

const assert = require('node:assert/strict');
const { fork, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const { it } = require('node:test');
const { Worker } = require('node:worker_threads');
const trop = require('trop');
const { ROOT, scratch, run, lock } = require('./support');

/** A worker thread; `arrived` counts workers, so that the script can wait until `barrier` are there. */
function start(script, workerData, barrier = 1, arrived = new Int32Array(new SharedArrayBuffer(4))) {
  const prelude = `
    const { parentPort, workerData: received } = require('node:worker_threads');
    const { ROOT, arrived, barrier, ...workerData } = received;
    const trop = require(ROOT);
    if (Atomics.add(arrived, 0, 1) + 1 === barrier) Atomics.notify(arrived, 0);
    for (let there; (there = Atomics.load(arrived, 0)) < barrier; ) Atomics.wait(arrived, 0, there);
  `;
  return new Worker(prelude + script, { eval: true, workerData: { ROOT, arrived, barrier, ...workerData } });
}

it('loads in worker threads, which get different ports', async (t) => {
  const dataDir = path.join(scratch(t), 'data');
  const arrived = new Int32Array(new SharedArrayBuffer(4));
  const script = `
    (async () => {
      const registry = await trop.Registry.openAsync({ dataDir: workerData.dataDir, ports: [28400, 28499] });
      const mine = [];
      for (let tag = 0; tag < 5; tag++) {
        const key = { path: '/w/worker' + workerData.number, tag: String(tag) };
        mine.push((tag % 2 ? registry.reserve(key) : await registry.reserveAsync(key)).port);
      }
      parentPort.postMessage(mine);
    })();
  `;
  const workers = Array.from({ length: 8 }, (_, number) => start(script, { dataDir, number }, 8, arrived));
  const ports = await Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0]));
  await Promise.all(workers.map((worker) => worker.terminate()));
  assert.equal(new Set(ports.flat()).size, 40);
  assert.equal(new trop.Registry({ dataDir }).list().length, 40);
});

it('has every call in worker threads', async (t) => {
  const directory = scratch(t);
  const file = path.join(directory, 'trop.yaml');
  fs.writeFileSync(file, 'reservations: {services: {web: {}, api: {offset: 1}}}');
  const script = `
    (async () => {
      const registry = new trop.Registry(workerData.options);
      const { port } = registry.reserve({ path: '/w/worker', project: 'shop' });
      const results = [
        registry.find({ path: '/w/worker' }).port === port,
        (await registry.findPortAsync(port)).path,
        registry.projects(),
        Object.keys(await registry.reserveGroupAsync({ file: workerData.file })),
        (await registry.migrateAsync('/w/worker', workerData.directory)).moves.length,
        registry.autoclean().pruned.length,
        (await registry.expireAsync({ days: 1 })).expired.length,
        registry.list({ project: 'shop' }).length,
        registry.scan({ min: port, max: port }),
        registry.releasePort(port),
        trop.validateConfig(workerData.file),
        await registry.validateDatabaseAsync(),
      ];
      parentPort.postMessage(results);
    })();
  `;
  const ports = [28510, 28599];
  const options = {
    dataDir: path.join(directory, 'data'),
    ports,
    skipOccupancyCheck: true,
    discovery: false,
  };
  const worker = start(script, { directory, file, options });
  const [results] = await once(worker, 'message');
  await worker.terminate();
  const expected = [true, '/w/worker', ['shop'], ['api', 'web'], 1, 0, 0, 1, [], true, [], undefined];
  assert.deepEqual(results, expected);
});

it('survives the end of workers in the middle of calls', async (t) => {
  const dataDir = path.join(scratch(t), 'data');
  const registry = new trop.Registry({ dataDir });
  for (let round = 0; round < 5; round++) {
    const locker = await lock(t, dataDir);
    const script = `
      const registry = new trop.Registry({ dataDir: workerData.dataDir, create: false, busyTimeout: 60_000 });
      for (let tag = 0; tag < 10; tag++) registry.reserveAsync({ path: '/w', tag: String(tag) });
      parentPort.postMessage('called');
      if (workerData.sync) registry.reserve({ path: '/w/sync' });
      if (workerData.exit) process.exit();
    `;
    const kinds = [{}, { sync: true }, { exit: true }];
    const workers = kinds.map((kind) => start(script, { dataDir, ...kind }));
    await Promise.all(workers.map((worker) => once(worker, 'message')));
    const ends = workers.map((worker) => worker.terminate());
    locker.unlock();
    await Promise.all(ends);
    assert.ok(registry.reserve({ path: '/w/after', tag: `${round}` }).created);
  }
  const ports = registry.list().map(({ port }) => port);
  assert.equal(new Set(ports).size, ports.length);
});

it('works on after the only thread that had loaded it is gone', async (t) => {
  const env = { ROOT, TROP_DATA_DIR: path.join(scratch(t), 'data') };
  const script = `
    const { once } = require('node:events');
    const { spawnSync } = require('node:child_process');
    const { Worker } = require('node:worker_threads');
    const inside = \`require(\${JSON.stringify(process.env.ROOT)}).reserve({ path: '/w' })\`;
    (async () => {
      for (let round = 0; round < 3; round++) {
        await once(new Worker(inside, { eval: true }), 'exit');
        // Forks, so that what the addon registered for forks runs.
        if (spawnSync(process.execPath, ['--version']).status !== 0) process.exit(1);
      }
      console.log('alive');
    })();
  `;
  assert.equal(await run(process.execPath, ['-e', script], { env }), 'alive');
});

it('works in parent and child when processes are started', async (t) => {
  const directory = scratch(t);
  const dataDir = path.join(directory, 'data');
  const ports = [28500, 28599];
  const registry = new trop.Registry({ dataDir, ports, busyTimeout: 60_000 });
  const mine = registry.reserve({ path: '/w/parent' });
  const script = path.join(directory, 'child.js');
  fs.writeFileSync(
    script,
    `process.once('message', ({ ROOT, ...options }) => {
      const registry = new (require(ROOT).Registry)(options);
      process.send(registry.reserve({ path: '/w/child' }).port, () => process.disconnect());
    });`,
  );
  const child = fork(script);
  child.send({ ROOT, dataDir, ports });
  const [theirs] = await once(child, 'message');
  await once(child, 'exit');
  assert.notEqual(theirs, mine.port);
  assert.deepEqual(registry.list().map(({ port }) => port).sort(), [mine.port, theirs].sort());

  // A process can be started while a call of another thread waits for the lock.
  const locker = await lock(t, dataDir);
  const waiting = registry.reserveAsync({ path: '/w/waiting' });
  for (let count = 0; count < 3; count++) assert.equal(spawnSync(process.execPath, ['--version']).status, 0);
  locker.unlock();
  assert.ok((await waiting).created);
});
