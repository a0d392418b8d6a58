'use strict';
// trop's Node.js worker of the benchmark: see bench/PROTOCOL.md.

const trop = require('../../bindings/node');
const { serve, timed } = require('./lines.js');

const [dataDir, lowest, highest] = process.argv.slice(2);
const options = { dataDir, ports: [Number(lowest), Number(highest)], discovery: false, variables: false };
const registry = new trop.Registry(options);

// What is reserved, and what is leased: the oldest first.
const tags = [];
const leases = [];
let made = 0;

const OPERATIONS = {
  new: (count) => reserveNew(count),

  fill: (count) => reserveNew(count, { skipOccupancyCheck: true }),

  release(count) {
    const released = oldest(tags, count).map((tag) => ({ tag }));
    return timed(released.map((key) => () => registry.release(key)));
  },

  hit(count) {
    const request = { tag: lastTag() };
    registry.reserve(request);
    return timed(Array(count).fill(() => registry.reserve(request)));
  },

  touch(count) {
    const requests = oldest(tags, count).map((tag) => ({ tag }));
    tags.unshift(...requests.map(({ tag }) => tag));
    waitForNextSecond();
    return timed(requests.map((request) => () => registry.reserve(request)));
  },

  lease(count) {
    const batch = timed(Array(count).fill(() => registry.lease()));
    leases.push(...batch.results.filter(Boolean));
    return batch;
  },

  close(count) {
    return timed(oldest(leases, count).map((lease) => () => lease.close()));
  },

  open(count) {
    const request = { tag: lastTag() };
    return timed(
      Array(count).fill(() => {
        const opened = new trop.Registry(options);
        const reservation = opened.reserve(request);
        opened.close();
        return reservation;
      }),
    );
  },
};

function reserveNew(count, how) {
  const requests = Array.from({ length: count }, () => ({ tag: `${process.pid}-${++made}`, ...how }));
  const batch = timed(requests.map((request) => () => registry.reserve(request)));
  tags.push(...requests.map(({ tag }) => tag).filter((_, number) => batch.results[number]));
  return batch;
}

function lastTag() {
  if (tags.length === 0) reserveNew(1);
  return tags.at(-1);
}

/** Takes them out of what is kept. */
function oldest(kept, count) {
  if (count > kept.length) {
    console.error(`worker.js: only ${kept.length} are kept`);
    process.exit(1);
  }
  return kept.splice(0, count);
}

/** Whatever was reserved until now was reserved in a second that has passed afterwards. */
function waitForNextSecond() {
  const left = 1000 - (Date.now() % 1000);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, left);
}

serve(OPERATIONS);
