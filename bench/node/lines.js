'use strict';
// The lines that the workers in Node.js read and answer: see bench/PROTOCOL.md.

const net = require('node:net');
const readline = require('node:readline');

/** Makes the calls, one after the other. What comes out is kept until the last one is done. */
function timed(calls) {
  const batch = new Batch();
  for (const call of calls) {
    let result, error;
    const start = process.hrtime.bigint();
    try {
      result = call();
    } catch (caught) {
      error = caught;
    }
    batch.note(process.hrtime.bigint() - start, result, error);
  }
  return batch;
}

/** The same for calls whose results are awaited. */
async function timedAsync(calls) {
  const batch = new Batch();
  for (const call of calls) {
    let result, error;
    const start = process.hrtime.bigint();
    try {
      result = await call();
    } catch (caught) {
      error = caught;
    }
    batch.note(process.hrtime.bigint() - start, result, error);
  }
  return batch;
}

/** What a suite of quick server tests does. Only taking the port is timed. */
async function churned(count, take, giveBack) {
  const batch = new Batch();
  for (let turn = 0; turn < count; turn++) {
    let taken, error;
    const start = process.hrtime.bigint();
    try {
      taken = await take();
    } catch (caught) {
      error = caught;
    }
    const time = process.hrtime.bigint() - start;
    try {
      if (!error) {
        await serveOnce(taken.port ?? taken);
        giveBack(taken);
      }
    } catch (caught) {
      error = caught;
    }
    batch.note(time, error ? undefined : taken, error);
  }
  return batch;
}

/** A server that answers one client and closes the connection first: TIME_WAIT is on its side. */
function serveOnce(port) {
  return new Promise((resolve, reject) => {
    const server = net.createServer((served) => served.end('served'));
    server.on('error', reject);
    server.listen({ port, host: '127.0.0.1' }, () => {
      const client = net.connect({ port, host: '127.0.0.1' });
      client.on('error', reject);
      client.resume();
      client.on('close', () => server.close(resolve));
    });
  });
}

/** The times of some calls in nanoseconds, and what came out; nothing if the call failed. */
class Batch {
  times = [];
  results = [];
  failed = 0;

  note(time, result, error) {
    this.times.push(Number(time));
    this.results.push(result);
    if (error) {
      this.failed += 1;
      console.error(String(error));
    }
  }
}

/** Answers each line by the operation with that name, until there are no more. */
async function serve(operations) {
  console.log('ready');
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [name, count] = line.split(' ');
    const { times, results, failed } = await operations[name](Number(count));
    // A release has a count.
    const ports = name === 'release' ? [] : results.filter(Boolean).map((result) => result.port ?? result);
    console.log(JSON.stringify({ ns: times, ports, failed }));
  }
}

module.exports = { timed, timedAsync, churned, serve };
