import { expect, test } from 'vitest';
import { start } from './start.js';

const address = start();

test('a counter starts at zero', async () => {
  const response = await fetch(`${address}/apples`);
  expect(await response.json()).toEqual({ count: 0 });
});

test('posting adds one', async () => {
  await fetch(`${address}/pears`, { method: 'POST' });
  const response = await fetch(`${address}/pears`, { method: 'POST' });
  expect(await response.json()).toEqual({ count: 2 });
});
