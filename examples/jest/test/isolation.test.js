'use strict';

const trop = require('trop');
const address = require('./start').start();

test('nobody else counts here', async () => {
  const response = await fetch(`${address}/plums`, { method: 'POST' });
  expect(await response.json()).toEqual({ count: 1 });
});

test('the port belongs to this worker', () => {
  const mine = trop.list().filter(({ port }) => address.endsWith(`:${port}`));
  expect(mine).toEqual([expect.objectContaining({ path: process.cwd(), tag: `jest-${process.env.JEST_WORKER_ID}` })]);
});
