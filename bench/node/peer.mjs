// An npm package that picks ports, as a worker: `peer.mjs PACKAGE FOLDER`, operations `pick` and `churn`.

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import lines from './lines.js';

const [name, folder] = process.argv.slice(2);
const from = createRequire(pathToFileURL(join(folder, 'package.json')));

/** The function of each package. */
const PEERS = {
  'get-port': async () => (await import(pathToFileURL(join(folder, 'node_modules/get-port/index.js')))).default,
  portfinder: () => from('portfinder').getPortPromise,
  'detect-port': () => from('detect-port').detect,
};

const pick = await PEERS[name]();
await lines.serve({
  pick: (count) => lines.timedAsync(Array(count).fill(() => pick())),
  churn: (count) => lines.churned(count, () => pick(), () => {}),
});
