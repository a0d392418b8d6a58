'use strict';

const assert = require('node:assert/strict');
const { fork, spawn } = require('node:child_process');
const dgram = require('node:dgram');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { createInterface } = require('node:readline');
const { setImmediate } = require('node:timers/promises');
const { it } = require('node:test');
const { Worker } = require('node:worker_threads');
const trop = require('trop');
const { ROOT, bothWays, scratch, run, lock, failure } = require('./support');

const RANGE = [29100, 29199];

/** A registry of the test's own. */
function fresh(t, options) {
  return new trop.Registry({
    dataDir: path.join(scratch(t), 'data'),
    ports: RANGE,
    discovery: false,
    ...options,
  });
}

function portsOf(leases) {
  return leases.map(({ port }) => port);
}

/** The ports of the leases of a data directory that are alive. */
function alive(dataDir) {
  const registry = new trop.Registry({ dataDir, create: false });
  const leases = registry.leases().filter(({ state }) => state === 'alive');
  registry.close();
  return portsOf(leases);
}

bothWays('leases', (call) => {
  it('are a new port each time, until they are closed', async (t) => {
    const registry = fresh(t);
    const first = await call(registry, 'lease', { label: ' web ' });
    const second = await call(registry, 'lease');
    assert.notEqual(first.port, second.port);
    assert.deepEqual([first.label, second.label], ['web', null]);
    assert.deepEqual(Object.keys(first), ['port', 'label']);
    assert.deepEqual([first.closed, second.closed], [false, false]);
    assert.throws(() => (first.port = 1), TypeError);

    const [row] = await call(registry, 'leases');
    const { command, since, ...rest } = row;
    assert.deepEqual(rest, {
      port: first.port,
      label: 'web',
      state: 'alive',
      pid: process.pid,
      directory: fs.realpathSync(process.cwd()),
      processState: 'running',
      keptBy: null,
    });
    assert.ok(command.includes('node') && Math.abs(since - Date.now()) < 60_000);
    assert.deepEqual(portsOf(await call(registry, 'ownLeases')), [first.port, second.port]);
    assert.deepEqual(await call(registry, 'list'), []);

    first.close();
    first.close();
    assert.ok(first.closed);
    for (const name of ['listen', 'bind']) {
      await assert.rejects(async () => call(first, name), failure('TROP_CLOSED'));
    }
    await assert.rejects(first.waitListening(), failure('TROP_CLOSED'));
    assert.equal((await call(registry, 'lease', { port: first.port })).port, first.port);
  });

  it('are several or none, and neighbours if asked for', async (t) => {
    const registry = fresh(t, { skipOccupancyCheck: true, ports: [29200, 29209] });
    // At a directory that exists, or else it would be pruned to make room.
    await call(registry, 'reserve', { path: __dirname, port: 29201 });
    assert.deepEqual(portsOf(await call(registry, 'leaseMany', 2)), [29200, 29202]);
    const run = await call(registry, 'leaseMany', 3, { contiguous: true, min: 29202, label: 'run' });
    assert.deepEqual(portsOf(run), [29203, 29204, 29205]);
    assert.deepEqual(run.map(({ label }) => label), ['run', 'run', 'run']);
    const before = await call(registry, 'leases');
    for (const [count, options] of [[5], [5, { contiguous: true }]]) {
      await assert.rejects(
        async () => call(registry, 'leaseMany', count, options),
        failure('TROP_EXHAUSTED'),
      );
    }
    assert.deepEqual(await call(registry, 'leases'), before);
  });

  it('are refused for bad arguments, and nothing is changed', async (t) => {
    const registry = fresh(t);
    for (const count of [0, 101, -1, 1.5, NaN, 2 ** 32 + 1, '1', null, undefined, 1n]) {
      await assert.rejects(
        async () => call(registry, 'leaseMany', count),
        failure('TROP_INVALID_ARGUMENT', 'count'),
      );
    }
    for (const [options, argument] of [
      ...['', ' ', 'a\0b', '\ud800', 'x'.repeat(300), 7, null].map((label) => [{ label }, 'label']),
      ...[0, 65536, '80', null].map((port) => [{ port }, 'port']),
      [{ hold: 1 }, 'hold'],
      [{ contiguous: true }, 'contiguous'],
      [{ dryRun: true }, 'dryRun'],
      [null, 'options'],
    ]) {
      await assert.rejects(
        async () => call(registry, 'lease', options),
        failure('TROP_INVALID_ARGUMENT', argument),
      );
    }
    for (const port of [0, 65536, '80', undefined]) {
      await assert.rejects(
        async () => call(registry, 'explain', port),
        failure('TROP_INVALID_ARGUMENT', 'port'),
      );
    }
    const lease = await call(registry, 'lease');
    for (const [name, options, argument] of [
      ['listen', { host: 'no such host' }, 'host'],
      ['listen', { host: 'a\0b' }, 'host'],
      ['listen', { backlog: -1 }, 'backlog'],
      ['listen', { backlog: 2 ** 31 }, 'backlog'],
      ['listen', { protocol: 'udp' }, 'protocol'],
      ['bind', { protocol: 'sctp' }, 'protocol'],
      ['bind', { host: 7 }, 'host'],
    ]) {
      await assert.rejects(
        async () => call(lease, name, options),
        failure('TROP_INVALID_ARGUMENT', argument),
      );
    }
    for (const timeout of [-1, 1.5, NaN, '5', null]) {
      await assert.rejects(lease.waitListening({ timeout }), failure('TROP_INVALID_ARGUMENT', 'timeout'));
    }
    assert.deepEqual(portsOf(await call(registry, 'leases')), [lease.port]);
  });

  it('give sockets that are already bound', async (t) => {
    const registry = fresh(t);
    const lease = await call(registry, 'lease');
    const server = net
      .createServer((socket) => socket.end('hello'))
      .listen({ fd: await call(lease, 'listen') });
    t.after(() => server.close());
    assert.deepEqual(server.address(), { address: '127.0.0.1', family: 'IPv4', port: lease.port });
    const [data] = await once(net.connect(lease.port, '127.0.0.1'), 'data');
    assert.equal(String(data), 'hello');
    // Nobody else can, not even with SO_REUSEADDR, as servers of Node.js set it.
    await assert.rejects(async () => call(lease, 'listen'), (error) => {
      assert.deepEqual([error.code, error.errno], ['TROP_IO', os.constants.errno.EADDRINUSE]);
      return true;
    });

    const socket = dgram.createSocket('udp4').bind({ fd: await call(lease, 'bind', { protocol: 'udp' }) });
    t.after(() => socket.close());
    assert.equal(socket.address().port, lease.port);
    const tcp = await call(await call(registry, 'lease'), 'bind');
    assert.ok(fs.fstatSync(tcp).isSocket());
    fs.closeSync(tcp);
    lease.close();
    assert.ok(server.listening);
  });

  it('of others are released by force only', async (t) => {
    const registry = fresh(t);
    const { port } = await call(fresh(t, { dataDir: registry.dataDir }), 'lease');
    await assert.rejects(async () => call(registry, 'releasePort', port), failure('TROP_CONFLICT', 'port'));
    assert.deepEqual(alive(registry.dataDir), [port]);
    assert.equal(await call(registry, 'releasePort', port, { force: true, dryRun: true }), true);
    assert.deepEqual(alive(registry.dataDir), [port]);
    assert.equal(await call(registry, 'releasePort', port, { force: true }), true);
    assert.deepEqual(alive(registry.dataDir), []);
  });

  it('and all else that is known about a port is explained', async (t) => {
    const registry = fresh(t, { excluded: [29199] });
    const lease = await call(registry, 'lease', { label: 'web' });
    const server = net.createServer().listen({ fd: lease.listen() });
    const explained = await call(registry, 'explain', lease.port);
    server.close();
    const { text, user, processName, ...rest } = explained;
    assert.deepEqual(rest, {
      port: lease.port,
      reservation: null,
      lease: (await call(registry, 'leases'))[0],
      occupied: true,
      processId: process.pid,
      inRange: true,
      excluded: false,
      refused: false,
      closing: false,
      forbidden: false,
    });
    assert.match(text, /is leased for 'web' by process .*\n.*\nIt is bound/);
    const reserved = await call(registry, 'reserve', { path: '/w', tag: 'api' });
    const { reservation } = await call(registry, 'explain', reserved.port);
    assert.deepEqual([reservation.path, reservation.tag], ['/w', 'api']);
    const { excluded, inRange } = await call(registry, 'explain', 29199);
    assert.deepEqual([excluded, inRange], [true, true]);
  });
});

it('holds a port against the system, not against servers', async (t) => {
  const lease = fresh(t).lease({ hold: true });
  const connection = net.connect(lease.port, '127.0.0.1');
  const [refusal] = await once(connection, 'error');
  assert.equal(refusal.code, 'ECONNREFUSED');
  const server = net.createServer().listen(lease.port, '127.0.0.1');
  await once(server, 'listening');
  await lease.waitListening();
  server.close();
});

it('waits for the listener of the lease, and tells who listens otherwise', async (t) => {
  const registry = fresh(t);
  const lease = registry.lease();
  await assert.rejects(lease.waitListening({ timeout: 30 }), (error) => {
    assert.match(error.message, /within 0.03 s/);
    return failure('TROP_NOT_LISTENING')(error);
  });
  const waiting = lease.waitListening({ timeout: 60_000 });
  const server = net.createServer().listen(lease.port, '127.0.0.1');
  await waiting;
  server.close();

  // More waits than libuv's pool has threads keep nobody from looking up a name, and end when the lease does.
  const waits = Promise.allSettled(
    Array.from({ length: 8 }, () => lease.waitListening({ timeout: 600_000 })),
  );
  const other = net.createServer().listen(0, 'localhost');
  await once(other, 'listening');
  other.close();
  lease.close();
  for (const { reason } of await waits) failure('TROP_CLOSED')(reason);

  // A program that neither has the lease nor was started by who has.
  const script = `
    const trop = require(${JSON.stringify(ROOT)});
    const lease = new trop.Registry(${JSON.stringify({ dataDir: registry.dataDir, ports: RANGE })}).lease();
    process.on('message', () => lease.waitListening().catch(({ code, message }) => {
      process.send({ code, message });
      process.disconnect();
    }));
    process.send(lease.port);
  `;
  const file = path.join(scratch(t), 'child.js');
  fs.writeFileSync(file, script);
  const child = fork(file);
  t.after(() => child.kill());
  const [port] = await once(child, 'message');
  const stranger = net.createServer().listen(port, '127.0.0.1');
  await once(stranger, 'listening');
  child.send('go');
  const [{ code, message }] = await once(child, 'message');
  stranger.close();
  assert.equal(code, 'TROP_NOT_LISTENING');
  assert.ok(message.includes(`process ${process.pid} `), message);
});

it('ends with its registry', async (t) => {
  const registry = fresh(t);
  const lease = registry.lease();
  registry.close();
  assert.ok(lease.closed);
  lease.close();
  assert.throws(() => lease.listen(), failure('TROP_CLOSED'));
  assert.throws(() => registry.lease(), failure('TROP_CLOSED'));
  assert.deepEqual(alive(registry.dataDir), []);
});

it('outlives the variable of its registry', async (t) => {
  const { dataDir } = fresh(t);
  const script = `
    const trop = require(process.env.ROOT);
    const lease = new trop.Registry(JSON.parse(process.env.OPTIONS)).lease();
    gc();
    setImmediate(() => console.log(!lease.closed));
  `;
  const env = { ROOT, OPTIONS: JSON.stringify({ dataDir, ports: RANGE }) };
  assert.equal(await run(process.execPath, ['--expose-gc', '-e', script], { env }), 'true');
});

it('ends without waiting or failing while the registry is busy', async (t) => {
  const registry = fresh(t, { busyTimeout: 600_000, skipOccupancyCheck: true });
  const leases = registry.leaseMany(2);
  const [closed, disposed] = leases;
  const locker = await lock(t, registry.dataDir);
  for (let twice = 0; twice < 2; twice++) {
    closed.close();
    if (Symbol.dispose) disposed[Symbol.dispose]();
    else disposed.close();
  }
  assert.ok(closed.closed && disposed.closed);
  locker.unlock();
  // Others need not wait for the next change of this registry.
  const other = new trop.Registry({ dataDir: registry.dataDir, ports: RANGE, skipOccupancyCheck: true });
  const again = await Promise.all(leases.map(({ port }) => other.leaseAsync({ port })));
  assert.deepEqual(portsOf(again), portsOf(leases));
});

it('is its port where a string or a number is needed', (t) => {
  const lease = fresh(t).lease();
  const { port } = lease;
  assert.equal(`${lease}`, `${port}`);
  assert.deepEqual([String(lease), Number(lease), +lease, lease + 1], [`${port}`, port, port, port + 1]);
  assert.equal(JSON.stringify(lease), `{"port":${port},"label":null}`);
  assert.deepEqual(Object.keys(lease), ['port', 'label']);
});

/** Runs a script that collects garbage with `collect()`, and returns the lines it prints. */
async function collecting(t, script, options) {
  const dataDir = path.join(scratch(t), 'data');
  const prelude = `
    const trop = require(process.env.ROOT);
    const open = () => new trop.Registry(JSON.parse(process.env.OPTIONS));
    const { setImmediate } = require('node:timers/promises');
    const collect = async () => { for (let i = 0; i < 5; i++) { gc(); await setImmediate(); } };
    const warned = new Set();
    process.on('warning', ({ name, code, message }) => {
      const [, port] = /^the lease of port ([0-9]+) was not closed/.exec(message);
      if (name !== 'TropWarning' || code !== 'TROP_FORGOTTEN_LEASE' || warned.has(+port)) throw message;
      warned.add(+port);
    });
    const until = async (done) => { while (!done()) await collect(); };
  `;
  const env = {
    ROOT,
    TROP_DATA_DIR: dataDir,
    OPTIONS: JSON.stringify({ dataDir, ports: RANGE, skipOccupancyCheck: true, ...options }),
  };
  const args = ['--expose-gc', '--no-warnings', '-e', `${prelude}(async () => {${script}})();`];
  return (await run(process.execPath, args, { env })).split('\n');
}

it('goes on when it is garbage, with a warning, until its registry is closed', async (t) => {
  const script = `
    const registry = open();
    const kept = registry.lease();
    const numbers = [];
    for (let i = 0; i < 3; i++) numbers.push(open().lease().port, (await open().leaseAsync()).port, registry.lease().port);
    registry.lease().close();
    const waited = registry.lease({ label: 'waited for' }).waitListening({ timeout: 600_000 });
    await until(() => warned.size === 9);
    const leases = registry.leases().filter(({ state }) => state === 'alive').map(({ port }) => port);
    const mine = registry.ownLeases().map(({ port }) => port);
    const [{ port }] = registry.ownLeases().filter(({ label }) => label);
    const server = require('node:net').createServer().listen(port, '127.0.0.1');
    await waited;
    server.close();
    registry.close();
    const left = trop.leases().map(({ port }) => port);
    await collect();
    console.log(numbers.every((number) => leases.includes(number) && warned.has(number)));
    console.log(new Set(numbers).size, leases.length, mine.length, left.length, warned.size, kept.closed);
  `;
  assert.deepEqual(await collecting(t, script), ['true', '9 11 5 6 9 true']);
});

it('is one of at most 256 that are garbage, of which the oldest end', async (t) => {
  const script = `
    const registry = open();
    const bare = registry.ports(20, { max: 29119 });
    const forgotten = new Set();
    while (forgotten.size < 300) {
      const { port } = registry.lease({ max: 29999 });
      if (bare.includes(port) || forgotten.has(port)) throw port;
      if (forgotten.add(port).size % 50 === 0) await collect();
    }
    await until(() => warned.size === 300);
    const left = new Set(registry.ownLeases().map(({ port }) => port));
    // The order of collection is V8's.
    console.log(left.size, bare.every((port) => left.has(port)), new Set(warned).size);
  `;
  assert.deepEqual(await collecting(t, script), ['276 true 300']);
});

it('is gone only when the range is closed: five numbers of five', async (t) => {
  const script = `
    const numbers = new Set();
    for (let i = 0; i < 5; i++) numbers.add(i % 2 ? open().port() : open().lease().port);
    await until(() => warned.size === 3);
    console.log(numbers.size);
    for (const take of ['port', 'lease']) try { open()[take](); } catch ({ code }) { console.log(code); }
  `;
  const lines = ['5', 'TROP_EXHAUSTED', 'TROP_EXHAUSTED'];
  assert.deepEqual(await collecting(t, script, { ports: [29100, 29104] }), lines);
});

bothWays('bare numbers', (call) => {
  it('last until the registry is closed', async (t) => {
    const registry = fresh(t, { skipOccupancyCheck: true });
    assert.equal(await call(registry, 'port', { port: 29150, label: 'kept' }), 29150);
    assert.deepEqual(await call(registry, 'ports', 3, { contiguous: true, port: 29160 }), [
      29160, 29161, 29162,
    ]);
    assert.equal(registry.ownLeases()[0].label, 'kept');
    assert.equal(new Set([await call(registry, 'port'), ...(await call(registry, 'ports', 2))]).size, 3);
    await assert.rejects(call(registry, 'ports', 0), failure('TROP_INVALID_ARGUMENT', 'count'));
    assert.equal(await call(registry, 'releasePort', 29150), true);
    const { dataDir } = registry;
    assert.equal(alive(dataDir).length, 6);
    registry.close();
    assert.deepEqual(alive(dataDir), []);
    await assert.rejects(call(registry, 'port'), failure('TROP_CLOSED'));
  });

  it('are those of the machine', async (t) => {
    process.env.TROP_DATA_DIR = path.join(scratch(t), 'data');
    const port = await call(trop, 'port');
    assert.deepEqual(portsOf(trop.ownLeases()), [port]);
  });
});

it('ends with its worker thread, whatever way that ends', async (t) => {
  const { dataDir } = fresh(t);
  process.env.TROP_DATA_DIR = dataDir;
  const mine = trop.lease();
  const script = `
    const { parentPort, workerData: { ROOT, options, end } } = require('node:worker_threads');
    const trop = require(ROOT);
    const registry = new trop.Registry(options);
    // Of the thread's own registry, and of the one that the whole process shares.
    globalThis.kept = [registry.lease(), ...registry.leaseMany(2), trop.lease()];
    kept[0].waitListening({ timeout: 600_000 }).catch(() => {});
    parentPort.postMessage(kept.map(({ port }) => port));
    if (end === 'exit') process.exit();
    if (end === 'throw') throw new Error('on purpose');
    if (end === 'terminate') setInterval(() => {}, 1000);
  `;
  for (const end of ['exit', 'throw', 'terminate']) {
    const workerData = { ROOT, options: { dataDir, ports: RANGE }, end };
    const worker = new Worker(script, { eval: true, workerData });
    const errors = [];
    worker.on('error', (error) => errors.push(error.message));
    const exited = new Promise((resolve) => worker.once('exit', resolve));
    // Not events.once, which fails when the error of the thread comes before its message.
    const ports = await new Promise((resolve) => worker.once('message', resolve));
    assert.equal(new Set([...ports, mine.port]).size, 5);
    if (end === 'terminate') await worker.terminate();
    await exited;
    assert.deepEqual(errors, end === 'throw' ? ['on purpose'] : []);
    assert.deepEqual(alive(dataDir), [mine.port], end);
  }
  mine.close();
});

it('ends with its worker thread that is terminated while it asks', async (t) => {
  const registry = fresh(t, { busyTimeout: 60_000 });
  const { dataDir } = registry;
  registry.lease().close();
  const script = `
    const { parentPort, workerData: { ROOT, options } } = require('node:worker_threads');
    const registry = new (require(ROOT).Registry)(options);
    const lease = registry.lease();
    for (let asked = 0; asked < 10; asked++) registry.leaseAsync();
    lease.listenAsync();
    parentPort.postMessage('asked');
  `;
  for (let round = 0; round < 5; round++) {
    const options = { dataDir, ports: RANGE, busyTimeout: 60_000 };
    const worker = new Worker(script, { eval: true, workerData: { ROOT, options } });
    await once(worker, 'message');
    await worker.terminate();
    assert.deepEqual(alive(dataDir), []);
  }
});

it('ends with its process, and no child process has it', async (t) => {
  const registry = fresh(t);
  const { dataDir } = registry;
  const script = `
    const trop = require(process.env.ROOT);
    const registry = new trop.Registry(JSON.parse(process.env.OPTIONS));
    const leases = registry.leaseMany(3);
    const fd = leases[0].listen();
    // It outlives its parent.
    const child = require('node:child_process').spawn('cat', { stdio: ['inherit', 'ignore', 'ignore'] });
    console.log(JSON.stringify([leases.map(({ port }) => port), child.pid]));
    const { END } = process.env;
    if (END === 'exit') process.exit();
    if (END === 'throw') throw new Error('on purpose');
    if (END === 'SIGKILL') process.stdin.resume();
  `;
  for (const end of ['return', 'exit', 'throw', 'SIGKILL']) {
    const env = { ...process.env, ROOT, END: end, OPTIONS: JSON.stringify({ dataDir, ports: RANGE }) };
    const child = spawn(process.execPath, ['-e', script], { env, stdio: ['pipe', 'pipe', 'ignore'] });
    const [output] = await once(child.stdout, 'data');
    const [ports] = JSON.parse(output);
    const exited = once(child, 'exit');
    if (end === 'SIGKILL') {
      assert.deepEqual(alive(dataDir), ports);
      child.kill('SIGKILL');
    }
    if (end === 'return') child.stdin.end();
    await exited;
    assert.deepEqual(alive(dataDir), [], end);
    // And the very ports are there for the next one, also the one that was listened on.
    const again = ports.map((port) => registry.lease({ port }));
    assert.deepEqual(portsOf(again), ports, end);
    const server = net.createServer().listen({ fd: again[0].listen() });
    await again[0].waitListening();
    server.close();
    await once(server, 'close');
    again.forEach((lease) => lease.close());
    child.stdin.destroy();
  }
});

it('keeps the event loop running while another process holds the lock', async (t) => {
  const registry = fresh(t, { busyTimeout: 60_000 });
  registry.lease().close();
  const locker = await lock(t, registry.dataDir);
  let settled = 0;
  const calls = [registry.leaseAsync(), registry.leaseManyAsync(2), registry.portAsync()];
  for (const call of calls) call.then(() => settled++);
  for (let turn = 0; turn < 1000; turn++) await setImmediate();
  assert.equal(settled, 0);
  locker.unlock();
  const [one, many] = await Promise.all(calls);
  assert.equal(new Set(portsOf([one, ...many])).size, 3);
});

it('is never shared by threads and processes that bind what they get', async (t) => {
  const dataDir = path.join(scratch(t), 'data');
  const script = `
    const trop = require(process.env.ROOT);
    const registry = new trop.Registry(JSON.parse(process.env.OPTIONS));
    const net = require('node:net');
    const { once } = require('node:events');
    module.exports = (async () => {
      for (let round = 0; round < 60; round++) {
        const leases = registry.leaseMany(1 + round % 3, { contiguous: round % 2 === 0 });
        const servers = leases.map(({ port }) => net.createServer().listen(port, '127.0.0.1'));
        await Promise.all(servers.map((server) => once(server, 'listening')));
        await Promise.all(servers.map((server) => new Promise((closed) => server.close(closed))));
        leases.forEach((lease) => lease.close());
      }
    })();
  `;
  const file = path.join(scratch(t), 'binds.js');
  fs.writeFileSync(file, script);
  const env = {
    ...process.env,
    ROOT,
    OPTIONS: JSON.stringify({ dataDir, ports: RANGE, busyTimeout: 60_000 }),
  };
  const ends = [
    ...Array.from({ length: 4 }, () =>
      once(spawn(process.execPath, [file], { env, stdio: 'inherit' }), 'exit'),
    ),
    ...Array.from({ length: 4 }, () => once(new Worker(file, { env }), 'exit')),
  ];
  for (const [status] of await Promise.all(ends)) assert.equal(status, 0);
  assert.deepEqual(alive(dataDir), []);
});
