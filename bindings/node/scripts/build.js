// Builds the native addon and puts it beside index.js. Needs Rust's cargo and nothing from npm, so that it
// also runs when npm installs this folder into another project.
'use strict';

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const root = path.join(__dirname, '..');
const cargo = ['build', '--release', '--locked', '--message-format=json-render-diagnostics'];
const { error, status, stdout } = spawnSync('cargo', cargo, {
  cwd: root,
  stdio: ['ignore', 'pipe', 'inherit'],
  encoding: 'utf8',
  maxBuffer: Infinity,
});
if (error) {
  console.error(
    `trop: cannot run cargo (${error.message}); building the addon needs Rust, see https://rustup.rs`,
  );
  process.exit(1);
}
if (status !== 0) process.exit(status ?? 1);

const messages = stdout.split('\n').filter(Boolean).map((line) => JSON.parse(line));
const artifact = messages.findLast((message) => message.target?.name === 'trop_node' && message.filenames);
const library = artifact.filenames.find((file) => /\.(so|dylib|dll)$/.test(file));
const addon = path.join(root, `trop.${process.platform}-${process.arch}.node`);
// Renamed into place: a process that has the old file loaded keeps it.
const fresh = `${addon}.${process.pid}`;
fs.copyFileSync(library, fresh);
fs.renameSync(fresh, addon);
