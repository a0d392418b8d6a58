// Puts the licences of the whole project beside index.js, for the package to carry them.
'use strict';

const fs = require('node:fs');
const path = require('node:path');

const root = path.join(__dirname, '..');
for (const name of ['LICENSE-APACHE', 'LICENSE-MIT']) {
  fs.copyFileSync(path.join(root, '..', '..', name), path.join(root, name));
}
