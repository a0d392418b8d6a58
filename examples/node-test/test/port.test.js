'use strict';

const assert = require('node:assert/strict');
const { once } = require('node:events');
const http = require('node:http');
const { after, before, test } = require('node:test');
const trop = require('trop');

// node:test runs each file in a process of its own: whatever way that ends, the port is free again.
const lease = trop.lease({ label: 'port.test.js' });
const server = http.createServer((request, response) => response.end('hello'));

before(async () => {
  server.listen(lease.port, '127.0.0.1');
  await once(server, 'listening');
});

after(() => {
  server.close();
  lease.close();
});

test('answers', async () => {
  const response = await fetch(`http://127.0.0.1:${lease.port}`);
  assert.equal(await response.text(), 'hello');
});
