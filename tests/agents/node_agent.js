// The Node agent: see tests/PROTOCOL.md.
'use strict';

const readline = require('node:readline');
const trop = require('../../bindings/node');

let registry;

const COMMANDS = {
  open({ data_dir: dataDir, create, busy_timeout_ms: wait, ports_min: min, ports_max: max, excluded }) {
    registry?.close();
    registry = new trop.Registry({
      dataDir,
      create: flag(create),
      busyTimeout: number(wait),
      ports: min === undefined ? undefined : [Number(min), Number(max)],
      excluded: excluded?.split(','),
    });
    return {};
  },

  reserve({ path, tag, port, min, max, allow_unrelated_path: allow }) {
    const reserved = registry.reserve({
      path,
      tag,
      port: number(port),
      min: number(min),
      max: number(max),
      allowUnrelatedPath: flag(allow),
    });
    return {
      port: reserved.port,
      path: reserved.path,
      tag: reserved.tag,
      created: Number(reserved.created),
      refusal: reserved.refusal,
    };
  },

  storm({ path, count }) {
    const tags = Array.from({ length: Number(count) }, (_, index) => String(index));
    return { ports: tags.map((tag) => registry.reserve({ path, tag }).port).join() };
  },

  release({ path, tag, untagged_only: untagged, allow_unrelated_path: allow }) {
    const options = { path, tag, untaggedOnly: flag(untagged), allowUnrelatedPath: flag(allow) };
    return { count: registry.release(options) };
  },

  list() {
    const rows = registry.list().map(({ createdAt, lastUsedAt, ...row }) => {
      return { ...row, created_at: time(createdAt), last_used_at: time(lastUsedAt) };
    });
    return { json: JSON.stringify(rows) };
  },

  close() {
    registry.close();
    return {};
  },
};

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const [verb, ...fields] = line.split('\t');
  try {
    answer('ok', COMMANDS[verb](Object.fromEntries(fields.map(decode))));
  } catch (error) {
    if (!(error instanceof trop.TropError)) throw error;
    const { number: code, code: name, argument, message } = error;
    // The other languages write data_dir for dataDir.
    const blamed = argument?.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    answer('error', { code, name, argument: blamed, message });
  }
});

function answer(status, fields) {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null);
  console.log([status, ...given.map(([name, value]) => `${name}=${encode(String(value))}`)].join('\t'));
}

function number(text) {
  return text === undefined ? undefined : Number(text);
}

function flag(text) {
  return text === undefined ? undefined : text === '1';
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
