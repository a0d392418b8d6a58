'use strict';

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { after, describe } = require('node:test');
const trop = require('trop');

const ROOT = path.join(__dirname, '..');

/** A directory that is removed after the test or suite `t`. Its path has no links. */
function scratch(t) {
  const directory = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'trop-node-')));
  t.after(() => fs.rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** The same tests for the calls and for their asynchronous twins. */
function bothWays(name, body) {
  for (const twin of ['', 'Async']) {
    describe(`${name}: ${twin ? 'asynchronous' : 'synchronous'} calls`, () => {
      const call = async (object, name, ...args) => object[`${name}${twin}`](...args);
      const open = async (options) => (twin ? trop.Registry.openAsync(options) : new trop.Registry(options));
      body(call, open);
    });
  }
}

// Not even a test that fails reaches the user's registry.
process.env.TROP_DATA_DIR = path.join(scratch({ after }), 'default');

// The ports of this suite, 28000 to 29999: each suite of the project has its own, see tests/README.md. Those
// below are for tests that name ports, because the files of the suite run at the same time.
Object.assign(process.env, {
  TROP_PORT_MIN: '29300',
  TROP_PORT_MAX: '29999',
  TROP_LEASE_PORT_MIN: '29300',
  TROP_LEASE_PORT_MAX: '29999',
});

/** Runs a program and returns what it printed; fails when it fails. */
async function run(command, args, { cwd, env } = {}) {
  const child = spawn(command, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (data) => (output += data));
  const [status, signal] = await once(child, 'close');
  if (status !== 0) throw new Error(`${command} ended with ${signal ?? status}: ${output}`);
  return output.trim();
}

/** Changes a database from another process. */
async function sql(dataDir, statement) {
  const script = `
import sqlite3, sys
with sqlite3.connect(sys.argv[1], timeout=60) as connection:
    connection.execute(sys.argv[2])
`;
  await run('python3', ['-c', script, path.join(dataDir, 'trop.db'), statement]);
}

/** Another process that holds the write lock of the database until `unlock` is called. */
async function lock(t, dataDir) {
  const program = path.join(ROOT, '..', '..', 'tests', 'lock_holder.py');
  const holder = spawn('python3', [program, path.join(dataDir, 'trop.db')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => holder.kill());
  await Promise.race([
    once(holder.stdout, 'data'),
    once(holder, 'exit').then(() => Promise.reject(new Error('the lock holder failed'))),
  ]);
  return { unlock: () => holder.stdin.end() };
}

/** Checks an error of trop. */
function failure(code, argument) {
  return (error) => {
    const found = { name: error.name, code: error.code, argument: error.argument };
    assert.deepEqual(found, { name: 'TropError', code, argument }, error.stack);
    return true;
  };
}

module.exports = { ROOT, bothWays, scratch, run, sql, lock, failure };
