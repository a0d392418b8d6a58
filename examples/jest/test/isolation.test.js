'use strict';

const trop = require('trop');
const address = require('./start').start();

test('nobody else counts here', async () => {
  const response = await fetch(`${address}/plums`, { method: 'POST' });
  expect(await response.json()).toEqual({ count: 1 });
});

test('the port belongs to this worker', () => {
  const { port } = new URL(address);
  const tag = `jest-${process.env.JEST_WORKER_ID}`;
  expect(trop.findPort(Number(port))).toMatchObject({ path: process.cwd(), tag });
});
