'use strict';

const address = require('./start').start();

test.each(['a', 'b/c', '%C3%A9'])('the counter %s is its own', async (name) => {
  const response = await fetch(`${address}/${name}`, { method: 'POST' });
  expect(await response.json()).toEqual({ count: 1 });
});
