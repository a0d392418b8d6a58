'use strict';

const assert = require('node:assert/strict');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { describe, it } = require('node:test');
const trop = require('trop');
const { ROOT, scratch } = require('./support');

const EXAMPLES = path.join(ROOT, '..', '..', 'examples');
const FILES = 16;
const TESTS = 4;
const PORTS = 5;

/** A test file that really binds what it gets, and writes down which ports those were. */
function file(imports) {
  return `
    ${imports}
    const session = tropSessionPort();
    const once = tropPort();

    async function bind(port) {
      const server = net.createServer().listen(port, '127.0.0.1');
      await events.once(server, 'listening');
      return server;
    }

    let server;
    beforeAll(async () => void (server = await bind(once)));
    afterAll(() => new Promise((closed) => server.close(closed)));

    for (let number = 0; number < ${TESTS}; number++) {
      test('binds what it gets ' + number, async () => {
        const ports = tropPorts(${PORTS}, { contiguous: number % 2 === 0 });
        const servers = await Promise.all(ports.map(bind));
        const held = tropLease({ hold: true });
        servers.push(net.createServer().listen({ fd: held.listen() }));
        await held.waitListening();
        fs.appendFileSync(process.env.BOUND, [session, once, held.port, ...ports].join(' ') + '\\n');
        await Promise.all(servers.map((server) => new Promise((closed) => server.close(closed))));
      }, 60_000);
    }
  `;
}

/** A project with that test file many times over, and the packages it needs. */
function project(t, name, text, config) {
  const directory = scratch(t);
  fs.mkdirSync(path.join(directory, 'node_modules'));
  fs.symlinkSync(ROOT, path.join(directory, 'node_modules', 'trop'));
  for (let number = 0; number < FILES; number++) fs.writeFileSync(path.join(directory, name(number)), text);
  for (const [name, text] of Object.entries(config)) fs.writeFileSync(path.join(directory, name), text);
  return directory;
}

/** Runs it and checks that every port was bound, no two files shared one, and all came back. */
function check(directory, command) {
  const [dataDir, bound] = ['data', 'bound'].map((name) => path.join(directory, name));
  const env = { ...process.env, TROP_DATA_DIR: dataDir, BOUND: bound, CI: '1' };
  delete env.NODE_TEST_CONTEXT;
  const done = spawnSync(process.execPath, command, { cwd: directory, env, encoding: 'utf8' });
  assert.equal(done.status, 0, done.stdout + done.stderr);
  const lines = fs.readFileSync(bound, 'utf8').trim().split('\n').map((line) => line.split(' ').map(Number));
  assert.equal(lines.length, FILES * TESTS);
  assert.equal(new Set(lines.map(([session]) => session)).size, 1);
  for (const ports of lines) assert.equal(new Set(ports).size, PORTS + 3);
  const registry = new trop.Registry({ dataDir });
  assert.deepEqual(registry.leases(), []);
  registry.validateDatabase();
  registry.close();
  // The first lease of each process also checks a few owners and removes what ended processes have left.
  for (let look = 0; look < 3; look++) {
    const looking = new trop.Registry({ dataDir });
    looking.lease().close();
    looking.close();
  }
  assert.deepEqual(fs.readdirSync(dataDir).filter((name) => name.startsWith('owner-')), []);
}

/** Why a runner cannot be tried here. */
function missing(example, name) {
  return fs.existsSync(path.join(EXAMPLES, example, 'node_modules', name))
    ? false
    : `examples/${example} is not installed`;
}

describe('Jest', { skip: missing('jest', 'jest') }, () => {
  const jest = path.join(EXAMPLES, 'jest', 'node_modules', 'jest', 'bin', 'jest.js');
  const imports = `const [events, fs, net] = ['events', 'fs', 'net'].map((name) => require(name));`;
  const config = {
    transform: {},
    watchman: false,
    // Jest would run short tests one after the other.
    workerIdleMemoryLimit: '1GB',
    globalSetup: 'trop/jest/global-setup',
    globalTeardown: 'trop/jest/global-teardown',
    setupFilesAfterEnv: ['trop/jest'],
  };
  const written = (settings) => ({ 'package.json': JSON.stringify({ jest: { ...config, ...settings } }) });
  const name = (number) => `${number}.test.js`;

  it('gives 8 workers ports of their own', (t) => {
    check(project(t, name, file(imports), written()), [jest, '--maxWorkers=8']);
  });

  it('works without the setup file and in one process', (t) => {
    const text = file(
      `${imports} const { tropLease, tropPort, tropPorts, tropSessionPort } = require('trop/jest');`,
    );
    check(project(t, name, text, written({ setupFilesAfterEnv: [] })), [jest, '--runInBand']);
  });

  it('closes what a file took as soon as the file has ended', (t) => {
    const text = `
      const trop = require('trop');
      test('has one lease', () => {
        const port = tropPort();
        jest.resetModules();
        const again = require('trop/jest').tropPort();
        expect(again).not.toBe(port);
        const mine = trop.leases().filter(({ label }) => label.endsWith('.test.js'));
        expect(mine.map(({ port }) => port)).toEqual([port, again]);
        require('fs').appendFileSync(process.env.BOUND, 'x');
      });
    `;
    const directory = project(t, name, text, written({ workerIdleMemoryLimit: undefined }));
    const env = {
      ...process.env,
      TROP_DATA_DIR: path.join(directory, 'data'),
      BOUND: path.join(directory, 'bound'),
    };
    delete env.NODE_TEST_CONTEXT;
    const done = spawnSync(process.execPath, [jest, '--runInBand'], {
      cwd: directory,
      env,
      encoding: 'utf8',
    });
    assert.equal(done.status, 0, done.stderr);
    assert.equal(fs.readFileSync(env.BOUND, 'utf8').length, FILES);
  });

  it('says where the setup file belongs', (t) => {
    const settings = { setupFiles: ['trop/jest'], setupFilesAfterEnv: [] };
    const directory = project(t, name, file(imports), written(settings));
    const env = { ...process.env, TROP_DATA_DIR: path.join(directory, 'data') };
    const done = spawnSync(process.execPath, [jest, '0.test.js'], { cwd: directory, env, encoding: 'utf8' });
    assert.equal(done.status, 1);
    assert.match(done.stderr, /setupFilesAfterEnv/);
  });
});

describe('Vitest', { skip: missing('vitest', 'vitest') }, () => {
  const modules = path.join(EXAMPLES, 'vitest', 'node_modules');
  const imports = `
    import events from 'node:events';
    import fs from 'node:fs';
    import net from 'node:net';
    import { afterAll, beforeAll, test } from 'vitest';
    import { tropLease, tropPort, tropPorts, tropSessionPort } from 'trop/vitest';
  `;
  const config = `export default {
    test: { globalSetup: ['trop/vitest/global-setup'], setupFiles: ['trop/vitest'] },
  };`;

  for (const [pool, ...options] of [['forks'], ['threads'], ['threads', '--no-isolate']]) {
    it(`gives 8 workers ports of their own: ${[pool, ...options].join(' ')}`, (t) => {
      const name = (number) => `${number}.test.mjs`;
      const files = { 'vitest.config.mjs': config, 'package.json': '{ "type": "module" }' };
      const directory = project(t, name, file(imports), files);
      fs.symlinkSync(path.join(modules, 'vitest'), path.join(directory, 'node_modules', 'vitest'));
      const command = [
        path.join(modules, 'vitest', 'vitest.mjs'),
        'run',
        `--pool=${pool}`,
        '--maxWorkers=8',
        ...options,
      ];
      check(directory, command);
    });
  }
});
