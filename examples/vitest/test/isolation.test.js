import trop from 'trop';
import { expect, test } from 'vitest';
import { start } from './start.js';

const address = start();

test('nobody else counts here', async () => {
  const response = await fetch(`${address}/pears`, { method: 'POST' });
  expect(await response.json()).toEqual({ count: 1 });
});

test('the port is leased for this file', () => {
  const { lease } = trop.explain(Number(new URL(address).port));
  expect(lease).toMatchObject({ state: 'alive', label: 'test/isolation.test.js' });
});
