'use strict';

const { once } = require('node:events');
const { createServer } = require('../server');

// A port for this file alone, from the setup file trop/jest: no other file gets it, not even of this worker.
const port = tropPort();
const server = createServer();

beforeAll(async () => {
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
});

afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
});

test('a server on a leased port answers', async () => {
  const response = await fetch(`http://127.0.0.1:${port}/plums`, { method: 'POST' });
  expect(await response.json()).toEqual({ count: 1 });
});

test('every test may have more ports, and the whole run has one', () => {
  const ports = [port, tropSessionPort(), ...tropPorts(3, { contiguous: true })];
  expect(new Set(ports).size).toBe(5);
  expect(ports.at(-1)).toBe(ports.at(-3) + 2);
});
