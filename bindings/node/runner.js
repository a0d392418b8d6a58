'use strict';

// What the test runners have in common: the leases of a test file, and the one of a whole run.

const path = require('node:path');
const trop = require('./index.js');

/** How the processes and threads of a run know its port. */
const SESSION = 'TROP_SESSION_PORT';

/** The functions for one test file; `afterAll` calls what is to be done after it, `testPath` names it. */
function forFile(afterAll, testPath) {
  const taken = [];

  const take = (call, options, ...args) => {
    const leases = call(...args, { label: label(testPath()), ...options });
    taken.push(...[leases].flat());
    return leases;
  };

  afterAll(() => taken.splice(0).forEach((lease) => lease.close()));

  return {
    tropLease: (options) => take(trop.lease, options),
    tropPort: (options) => take(trop.lease, options).port,
    tropPorts: (count, options) => take(trop.leaseMany, options, count).map(({ port }) => port),
    tropSessionPort,
  };
}

function tropSessionPort() {
  if (process.env[SESSION] === undefined) {
    throw new Error("there is no port of the run: list trop's global-setup in the runner's globalSetup");
  }
  return Number(process.env[SESSION]);
}

const sessions = [];

function openSession() {
  const lease = trop.lease({ label: 'session' });
  sessions.push(lease);
  process.env[SESSION] = lease.port;
}

function closeSession() {
  sessions.splice(0).forEach((lease) => lease.close());
  delete process.env[SESSION];
}

/** The test file, for people who read lists; the end of a long path tells more than its beginning. */
function label(testPath) {
  return path.relative(process.cwd(), testPath).slice(-80).toWellFormed();
}

module.exports = { forFile, openSession, closeSession };
