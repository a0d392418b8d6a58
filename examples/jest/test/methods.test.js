'use strict';

const address = require('./start').start();

test('deleting forgets', async () => {
  await fetch(`${address}/plums`, { method: 'POST' });
  const response = await fetch(`${address}/plums`, { method: 'DELETE' });
  expect(await response.json()).toEqual({ count: 0 });
});

test('another method is refused', async () => {
  const response = await fetch(`${address}/plums`, { method: 'PUT' });
  expect(response.status).toBe(405);
});
