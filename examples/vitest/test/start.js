import { once } from 'node:events';
import { tropPort } from 'trop/vitest';
import { afterAll, beforeAll } from 'vitest';
import { createServer } from '../server.js';

/** Starts the server for the tests of one file, on a port of its own, and returns its address. */
export function start() {
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

  return `http://127.0.0.1:${port}`;
}
