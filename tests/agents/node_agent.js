// The Node agent: see tests/PROTOCOL.md.
'use strict';

const fs = require('node:fs');
const readline = require('node:readline');
const trop = require('../../bindings/node');

let registry;

/** Every lease that was taken, by its handle, and the socket that listens on it. */
const leases = [];
const sockets = new Map();

const COMMANDS = {
  open({ ports_min: min, ports_max: max, excluded, busy_timeout_ms: wait, ...fields }) {
    registry?.close();
    registry = new trop.Registry({
      ...options(fields, { flags: ['create', 'discovery', 'variables', 'avoid_unsafe_ports'] }),
      busyTimeout: number(wait),
      ports: min === undefined ? undefined : [Number(min), Number(max)],
      excluded: excluded?.split(','),
    });
    return {};
  },

  reserve(fields) {
    const { port, path, tag, project, task, created, refusal, cleanup } = registry.reserve(
      options(fields, {
        numbers: ['port', 'min', 'max'],
        flags: [
          'clear_project',
          'clear_task',
          'overwrite',
          'ignore_occupied',
          'ignore_exclusions',
          ...PERMISSIONS,
          'disable_autoprune',
          'disable_autoexpire',
          'skip_occupancy_check',
          'dry_run',
        ],
      }),
    );
    return {
      port,
      path,
      tag,
      project,
      task,
      created: Number(created),
      refusal,
      ...(cleanup && counts(cleanup)),
    };
  },

  storm({ path, count }) {
    const tags = Array.from({ length: Number(count) }, (_, index) => String(index));
    return { ports: tags.map((tag) => registry.reserve({ path, tag }).port).join() };
  },

  reserve_group(fields) {
    const flags = [...PERMISSIONS, 'skip_occupancy_check', 'dry_run'];
    return { json: JSON.stringify(registry.reserveGroup(options(fields, { flags }))) };
  },

  release(fields) {
    const flags = ['untagged_only', 'recursive', 'allow_unrelated_path', 'dry_run'];
    return { count: registry.release(options(fields, { flags })) };
  },

  release_port({ port, ...fields }) {
    return {
      count: Number(registry.releasePort(number(port), options(fields, { flags: ['force', 'dry_run'] }))),
    };
  },

  port(fields) {
    return { port: registry.port(leaseOptions(fields)) };
  },

  lease({ count, ...fields }) {
    const asked = leaseOptions(fields);
    const taken = count === undefined ? [registry.lease(asked)] : registry.leaseMany(number(count), asked);
    const handles = taken.map((lease) => leases.push(lease) - 1);
    return { ports: taken.map(({ port }) => port).join(), handles: handles.join() };
  },

  lease_close({ handle }) {
    if (sockets.has(handle)) fs.closeSync(sockets.get(handle));
    sockets.delete(handle);
    leases[handle].close();
    return {};
  },

  lease_listen({ handle, host }) {
    sockets.set(handle, leases[handle].listen({ host }));
    return {};
  },

  async lease_wait_listening({ handle, timeout_ms: timeout }) {
    await leases[handle].waitListening({ timeout: number(timeout) });
    return {};
  },

  leases() {
    return { json: JSON.stringify(registry.leases().map(object)) };
  },

  own_leases() {
    return { json: JSON.stringify(registry.ownLeases().map(object)) };
  },

  explain({ port }) {
    const { reservation, lease, ...rest } = registry.explain(number(port));
    return {
      json: JSON.stringify(object({ ...rest, reservation: object(reservation), lease: object(lease) })),
    };
  },

  find(fields) {
    return { json: JSON.stringify(object(registry.find(fields))) };
  },

  find_port({ port }) {
    return { json: JSON.stringify(object(registry.findPort(number(port)))) };
  },

  list(fields) {
    return { json: JSON.stringify(registry.list(fields).map(object)) };
  },

  projects() {
    return { json: JSON.stringify(registry.projects()) };
  },

  prune(fields) {
    return counts(registry.prune(options(fields, { flags: ['dry_run'] })));
  },

  expire(fields) {
    return counts(registry.expire(options(fields, { numbers: ['days'], flags: ['dry_run'] })));
  },

  autoclean(fields) {
    return counts(registry.autoclean(options(fields, { numbers: ['days'], flags: ['dry_run'] })));
  },

  migrate({ from, to, ...fields }) {
    const flags = ['recursive', 'force', 'dry_run'];
    const { moves, conflicts } = registry.migrate(from, to, options(fields, { flags }));
    return { moved: moves.length, conflicts: conflicts.length };
  },

  scan(fields) {
    return { json: JSON.stringify(registry.scan(options(fields, { numbers: ['min', 'max'] })).map(object)) };
  },

  validate_config({ file }) {
    return { json: JSON.stringify(trop.validateConfig(file)) };
  },

  validate_database() {
    registry.validateDatabase();
    return {};
  },

  close() {
    registry.close();
    return {};
  },
};

const PERMISSIONS = ['allow_unrelated_path', 'allow_project_change', 'allow_task_change', 'force'];

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [verb, ...fields] = line.split('\t');
    try {
      answer('ok', await COMMANDS[verb](Object.fromEntries(fields.map(decode))));
    } catch (error) {
      if (!(error instanceof trop.TropError)) throw error;
      const { number: code, code: name, argument, message } = error;
      answer('error', { code, name, argument: argument && snake(argument), message });
    }
  }
}

function answer(status, fields) {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null);
  console.log([status, ...given.map(([name, value]) => `${name}=${encode(String(value))}`)].join('\t'));
}

/** The options of a call: fields as they are, except those that stand for numbers and flags. */
function options(fields, { numbers = [], flags = [] }) {
  const entries = Object.entries(fields).map(([name, text]) => {
    const value = numbers.includes(name) ? number(text) : flags.includes(name) ? text === '1' : text;
    return [name.replace(/_(.)/g, (_, letter) => letter.toUpperCase()), value];
  });
  return Object.fromEntries(entries);
}

function leaseOptions(fields) {
  return options(fields, {
    numbers: ['port', 'min', 'max'],
    flags: ['contiguous', 'hold', 'skip_occupancy_check'],
  });
}

function number(text) {
  return text === undefined ? undefined : Number(text);
}

function counts({ pruned, expired }) {
  return { pruned: pruned.length, expired: expired.length };
}

/** A result in the names and times of the other languages. */
function object(result) {
  if (result === null) return null;
  const entries = Object.entries(result).map(([name, value]) => {
    return [snake(name), value instanceof Date ? time(value) : value];
  });
  return Object.fromEntries(entries);
}

/** The other languages write data_dir for dataDir. */
function snake(name) {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function time(date) {
  return date.toISOString().slice(0, 19).replace('T', ' ');
}

function encode(text) {
  const escape = (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
  return encodeURIComponent(text).replace(/[!'()*]/g, escape).replaceAll('%2F', '/');
}

function decode(field) {
  const [, name, value] = /^([^=]*)=(.*)$/.exec(field);
  const latin1 = value.replace(/%(..)/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
  return [name, text(Buffer.from(latin1, 'latin1'))];
}

/** The text of UTF-8; a byte that is none becomes a lone surrogate. */
function text(bytes) {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let decoded = '';
  for (let at = 0; at < bytes.length; ) {
    const length = [1, 2, 3, 4].find((length) => isText(decoder, bytes.subarray(at, at + length)));
    decoded += length
      ? decoder.decode(bytes.subarray(at, at + length))
      : String.fromCharCode(0xdc00 + bytes[at]);
    at += length ?? 1;
  }
  return decoded;
}

function isText(decoder, bytes) {
  try {
    decoder.decode(bytes);
    return true;
  } catch {
    return false;
  }
}

main();
