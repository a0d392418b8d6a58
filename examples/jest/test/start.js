'use strict';

const { once } = require('node:events');
const fs = require('node:fs');
const trop = require('trop');
const { createServer } = require('../server');

/** Starts the server for the tests of one file, on the port of this Jest worker, and returns its address. */
function start() {
  const { port, took, created } = reserve();
  const server = createServer();

  beforeAll(async () => {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    note(port, took, created);
  });

  afterAll(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });

  return `http://127.0.0.1:${port}`;
}

/** The same port for every file of a worker, and a different one for each worker. */
function reserve() {
  const before = performance.now();
  const { port, created } = trop.reserve({ tag: `jest-${process.env.JEST_WORKER_ID}` });
  return { port, created, took: performance.now() - before };
}

/** For the project's demo only: who listened where, once a port. */
function note(port, took, created) {
  const log = process.env.TROP_DEMO_LOG;
  if (log && created) fs.appendFileSync(log, `jest\tNode\t${port}\t${took.toFixed(3)}\n`);
}

module.exports = { start };
