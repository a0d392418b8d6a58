'use strict';

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const http = require('node:http');
const { test } = require('node:test');
const trop = require('trop');

test('a server gets its port already bound', async (t) => {
  const lease = trop.lease();
  t.after(() => lease.close());
  const server = http
    .createServer((request, response) => response.end('hello'))
    .listen({ fd: lease.listen() });
  t.after(() => server.close());
  const response = await fetch(`http://127.0.0.1:${lease.port}`);
  assert.equal(await response.text(), 'hello');
});

test('a server in another process is waited for', async (t) => {
  const lease = trop.lease();
  t.after(() => lease.close());
  const script = `
    const server = require('http').createServer((_, response) => response.end('hi'));
    server.listen(process.env.PORT, '127.0.0.1');
  `;
  const child = spawn(process.execPath, ['-e', script], { env: { ...process.env, PORT: lease.port } });
  t.after(async () => {
    child.kill();
    await once(child, 'exit');
  });
  await lease.waitListening();
  const response = await fetch(`http://127.0.0.1:${lease.port}`);
  assert.equal(await response.text(), 'hi');
});
