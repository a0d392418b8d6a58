'use strict';

/** An error of trop. Tell errors apart by `code`: in Jest every test file has a class of its own. */
class TropError extends Error {
  constructor({ message, code, number, argument, errno }, options) {
    super(message, options);
    this.code = code;
    this.number = number;
    if (argument !== undefined) this.argument = argument;
    if (errno !== undefined) this.errno = errno;
  }
}
hidden(TropError.prototype, 'name', 'TropError');

// A copy, because V8 finds properties of an ordinary object faster than those of the addon's exports.
const native = { ...load() };

// Tables of options: the name of each and the function that checks it, or, for a switch, whether it is on by
// default. Values are checked before switches, both in the order of the table, and in that order they become
// arguments of the addon's function: each value by itself, then all switches as bits of one number, see
// src/switches.rs. Reading the properties of an object would take the addon longer than all else it does.

const ON = Symbol('on');
const OFF = Symbol('off');

const OCCUPANCY = {
  skipOccupancyCheck: OFF,
  skipTcp: OFF,
  skipUdp: OFF,
  skipIpv4: OFF,
  skipIpv6: OFF,
  checkAllInterfaces: flag,
};
const LEASE = { port: portNumber, min: portNumber, max: portNumber, label: text, hold: OFF, ...OCCUPANCY };
const CLEANUP = { days, dryRun: OFF };

// Compiled at their first use, because most programs use a few of them.

/** `dataDir` is the first: the constructor fills it in. */
const registryOptions = lazily(() =>
  compile({
    dataDir: text,
    create: flag,
    busyTimeout: milliseconds,
    ports: portRange,
    excluded: portList,
    avoidUnsafePorts: flag,
    discovery: flag,
    startDir: text,
    configFile: text,
    variables: flag,
    ...OCCUPANCY,
  }),
);
const listenOptions = lazily(() => compile({ host: text, backlog: wholeNumber }));
const bindOptions = lazily(() => compile({ protocol, host: text }));
const waitOptions = lazily(() => compile({ timeout: milliseconds }));

/**
 * The operations of a registry. Each becomes a method and its asynchronous twin, of the module too:
 *
 * - `required`: arguments that must be given, before the options
 * - `options`: a table of options; without one the operation takes none
 * - `result`: makes the result of the addon's answer
 * - `create`: makes it for the synchronous calls that are made often: the addon calls it with the parts of
 *   the answer, which takes half as long as an array of them
 */
const OPERATIONS = {
  reserve: {
    options: {
      path: text,
      tag: textOrNull,
      project: text,
      clearProject: OFF,
      task: text,
      clearTask: OFF,
      port: portNumber,
      min: portNumber,
      max: portNumber,
      overwrite: OFF,
      ignoreOccupied: OFF,
      ignoreExclusions: OFF,
      allowUnrelatedPath: ON,
      allowProjectChange: OFF,
      allowTaskChange: OFF,
      force: OFF,
      disableAutoprune: OFF,
      disableAutoexpire: OFF,
      ...OCCUPANCY,
      dryRun: OFF,
    },
    create: reserved,
    result: (row) => reserved(...row),
  },
  reserveGroup: {
    options: {
      file: text,
      task: text,
      by: groupKey,
      allowUnrelatedPath: ON,
      allowProjectChange: OFF,
      allowTaskChange: OFF,
      force: OFF,
      ...OCCUPANCY,
      dryRun: OFF,
    },
    result: mapping,
  },
  release: {
    // No null for the tag, as reserve takes it: without a tag everything at the path is released.
    options: {
      path: text,
      tag: text,
      untaggedOnly: OFF,
      recursive: OFF,
      allowUnrelatedPath: ON,
      dryRun: OFF,
    },
    result: same,
  },
  releasePort: { required: { port: portNumber }, options: { force: OFF, dryRun: OFF }, result: same },
  lease: { options: LEASE, create: leased, result: leasedObject },
  leaseMany: {
    required: { count: wholeNumber },
    options: { contiguous: OFF, ...LEASE },
    result: (objects) => Array.from(objects, leasedObject),
  },
  port: { options: LEASE, result: same },
  ports: {
    required: { count: wholeNumber },
    options: { contiguous: OFF, ...LEASE },
    result: (numbers) => Array.from(numbers),
  },
  leases: { result: leases },
  ownLeases: { result: leases },
  explain: { required: { port: portNumber }, result: explanation },
  find: { options: { path: text, tag: textOrNull }, result: found },
  findPort: { required: { port: portNumber }, result: found },
  // No null for the tag: without a tag everything is listed.
  list: { options: { project: text, tag: text, path: text }, result: reservations },
  projects: { result: (names) => Array.from(names) },
  prune: { options: { dryRun: OFF }, result: cleanup },
  expire: { options: CLEANUP, result: cleanup },
  autoclean: { options: CLEANUP, result: cleanup },
  migrate: {
    required: { from: text, to: text },
    options: { recursive: OFF, force: OFF, dryRun: OFF },
    result: migration,
  },
  scan: { options: { min: portNumber, max: portNumber }, result: copies },
  validateDatabase: { result: () => undefined },
};

/** Modes of the constructor: for the module's own functions, and for openAsync, which connects later. */
const SHARED = Symbol('shared');
const UNCONNECTED = Symbol('unconnected');

class Registry {
  /** The native registry. Without one, calls use the shared one of their data and working directory. */
  #handle;
  #closed = false;

  constructor(options, mode) {
    if (mode === SHARED) return;
    const [dataDir = environmentDataDir(), ...others] = registryOptions().read(options);
    this.#handle = unwrap(native.open(dataDir, ...others));
    if (mode !== UNCONNECTED) unwrap(native.connect(this.#handle, undefined, false));
  }

  static async openAsync(options) {
    const registry = new Registry(options, UNCONNECTED);
    unwrap(await native.connect(registry.#handle, undefined, true));
    return registry;
  }

  static {
    for (const [name, operation] of Object.entries(OPERATIONS)) {
      const { create, result } = operation;
      const resultNow = create ? same : result;
      const ask = lazily(() => asking(native[name], operation));
      const twin = `${name}Async`;
      // No operation has more arguments than these.
      const methods = {
        [name](a, b, c) {
          return resultNow(unwrap(ask()(this.#handle, this.#directory(), false, [a, b, c])));
        },
        async [twin](a, b, c) {
          return result(unwrap(await ask()(this.#handle, this.#directory(), true, [a, b, c])));
        },
      };
      hidden(Registry.prototype, name, methods[name]);
      hidden(Registry.prototype, twin, methods[twin]);
    }
  }

  get dataDir() {
    return native.dataDir(this.#handle);
  }

  get closed() {
    return this.#closed;
  }

  close() {
    unwrap(native.close(this.#handle));
    this.#closed = true;
  }

  /** The data directory of a call on a shared registry. */
  #directory() {
    return this.#handle === undefined ? environmentDataDir() : undefined;
  }
}
// Missing in the realms that Jest and vm make on Node 20.
if (Symbol.dispose) hidden(Registry.prototype, Symbol.dispose, Registry.prototype.close);

/** People keep numbers, not handles, so garbage collection does not end a lease. */
const collected = new FinalizationRegistry(({ handle, port }) => {
  if (!native.forgetLease(handle)) return;
  process.emitWarning(
    `the lease of port ${port} was not closed: it lasts until the process ends or its registry is closed`,
    { type: 'TropWarning', code: 'TROP_FORGOTTEN_LEASE' },
  );
});

/** Not exported: only a registry makes leases. */
class Lease {
  #handle;

  constructor(handle, port, label) {
    this.#handle = handle;
    native.deliverLease(handle);
    collected.register(this, { handle, port });
    // One defineProperties would take longer than both.
    Object.defineProperty(this, 'port', { value: port, enumerable: true });
    Object.defineProperty(this, 'label', { value: label, enumerable: true });
  }

  get closed() {
    return !native.isOpen(this.#handle);
  }

  close() {
    native.closeLease(this.#handle);
  }

  toString() {
    return String(this.port);
  }

  valueOf() {
    return this.port;
  }

  listen(options) {
    return descriptor(native.listen(this.#handle, false, ...listenArguments(options)));
  }

  async listenAsync(options) {
    return descriptor(await native.listen(this.#handle, true, ...listenArguments(options)));
  }

  bind(options) {
    return descriptor(native.bind(this.#handle, false, ...bindArguments(options)));
  }

  async bindAsync(options) {
    return descriptor(await native.bind(this.#handle, true, ...bindArguments(options)));
  }

  /** Has no synchronous twin, which would keep a server of this thread from starting. */
  async waitListening(options) {
    const [timeout = 10_000] = waitOptions().read(options);
    unwrap(await native.waitListening(this.#handle, timeout));
    // Used after the wait, so that the lease does not become garbage during it.
    void this.#handle;
  }

  static {
    if (Symbol.dispose) hidden(Lease.prototype, Symbol.dispose, Lease.prototype.close);
  }
}

const shared = new Registry(undefined, SHARED);

for (const name of Object.keys(OPERATIONS).flatMap((name) => [name, `${name}Async`])) {
  module.exports[name] = { [name]: (a, b, c) => shared[name](a, b, c) }[name];
}
Object.assign(module.exports, {
  validateConfig: (file) => copies(unwrap(native.validateConfig(false, required('file', text, file)))),
  validateConfigAsync: async (file) =>
    copies(unwrap(await native.validateConfig(true, required('file', text, file)))),
  Registry,
  TropError,
});

/** A function that makes a value when it is first called. */
function lazily(make) {
  let value;
  return () => (value ??= make());
}

/** Makes the function that checks the arguments of an operation and hands them to the addon. */
function asking(call, { required: table = {}, options: optional = {}, create }) {
  const needed = Object.entries(table);
  const options = compile(optional);
  const template = [...needed.map(() => undefined), ...options.standard, ...(create ? [create] : [])];
  return (handle, directory, later, given) => {
    const args = template.slice();
    for (let index = 0; index < needed.length; index++) {
      const [name, check] = needed[index];
      args[index] = required(name, check, given[index]);
    }
    if (options.count > 0) options.fill(args, needed.length, given[needed.length]);
    return call(handle, directory, later, ...args);
  };
}

/**
 * Compiles a table of options into what reads them:
 *
 * - `standard`: the arguments that they become if none is given
 * - `fill(args, first, object)`: checks the options in an object and stores them among arguments, `first`
 *   being the index of the first
 * - `read(object)`: the same as a new array
 *
 * It looks up only the options that an object has as keys: a loop over all 25 options of reserve would take
 * five times as long. Switches that are given are remembered as bits of a number, so that a table has room
 * for 31.
 */
function compile(table) {
  const isSwitch = (name) => table[name] === ON || table[name] === OFF;
  const names = Object.keys(table);
  const values = names.filter((name) => !isSwitch(name));
  const switches = names.filter(isSwitch);
  const checks = values.map((name) => table[name]);
  const masks = switches.map(switchMask);
  const on = masks.reduce((sum, mask, index) => (table[switches[index]] === ON ? sum | mask : sum), 0);
  const standard = [...values.map(() => undefined), ...(switches.length > 0 ? [on] : [])];
  const order = [...values, ...switches];
  const indexes = new Map(names.map((name) => [name, order.indexOf(name)]));

  const fill = (args, first, object) => {
    if (object === undefined) return args;
    if (typeof object !== 'object' || object === null || Array.isArray(object)) {
      throw invalid('options', `must be an object, not ${kind(object)}`);
    }
    let given = 0;
    for (const name in object) {
      const index = indexes.get(name);
      // A misspelt option must not be ignored: the call would do something else.
      if (index === undefined) throw invalid(name, `no such option; there are ${names.join(', ')}`);
      if (index < values.length) args[first + index] = object[name];
      else given |= 1 << (index - values.length);
    }
    if (!isPlain(object)) {
      // An instance of a class can have options that are no keys, such as getters.
      values.forEach((name, index) => (args[first + index] = object[name]));
      given = 2 ** switches.length - 1;
    }
    for (let index = 0; index < values.length; index++) {
      const value = args[first + index];
      if (value !== undefined) args[first + index] = checks[index](values[index], value);
    }
    let flags = on;
    for (let index = 0; given !== 0; index++, given >>>= 1) {
      if ((given & 1) === 0) continue;
      const value = object[switches[index]];
      if (value === undefined) continue;
      flags = flag(switches[index], value) ? flags | masks[index] : flags & ~masks[index];
    }
    if (switches.length > 0) args[first + values.length] = flags;
    return args;
  };
  const read = (object) => fill(standard.slice(), 0, object);
  return { count: names.length, standard, fill, read };
}

/** The addon's bit of a switch: that of skipTcp is called SKIP_TCP. */
function switchMask(name) {
  return native[name.replace(/[A-Z]/g, '_$&').toUpperCase()];
}

function isPlain(object) {
  const prototype = Object.getPrototypeOf(object);
  return prototype === Object.prototype || prototype === null;
}

function listenArguments(options) {
  const [host = '127.0.0.1', backlog = 128] = listenOptions().read(options);
  return [host, backlog];
}

function bindArguments(options) {
  const [protocol = 'tcp', host = '127.0.0.1'] = bindOptions().read(options);
  return [protocol === 'udp', host];
}

/** From the `process.env` of this realm or worker, which can be a copy of the process's own. */
function environmentDataDir() {
  const dataDir = process.env.TROP_DATA_DIR;
  if (dataDir?.includes('\ufffd')) throw invalid('dataDir', 'TROP_DATA_DIR is not valid UTF-8');
  return dataDir === undefined ? undefined : text('dataDir', dataDir);
}

function required(name, check, value) {
  if (value === undefined) throw invalid(name, 'is required');
  return check(name, value);
}

function text(name, value) {
  if (typeof value !== 'string') throw invalid(name, `must be a string, not ${kind(value)}`);
  // The conversion to UTF-8 would replace it.
  if (!value.isWellFormed()) throw invalid(name, 'contains a lone surrogate, which is not valid Unicode');
  return value;
}

/** Null is no tag, as in the results of list(), which can be passed on as options. */
function textOrNull(name, value) {
  return value === null ? undefined : text(name, value);
}

function flag(name, value) {
  if (typeof value === 'boolean') return value;
  throw invalid(name, `must be true or false, not ${kind(value)}`);
}

function portNumber(name, value) {
  if (typeof value !== 'number') throw invalid(name, `must be a number, not ${kind(value)}`);
  if (!Number.isSafeInteger(value)) throw invalid(name, `${value} is not a port number (1 to 65535)`);
  return value;
}

function portRange(name, value) {
  if (!Array.isArray(value)) throw invalid(name, `must be an array [min, max], not ${kind(value)}`);
  if (value.length !== 2) throw invalid(name, 'must be an array of exactly two ports, [min, max]');
  return Array.from(value, (port) => portNumber(name, port));
}

function portList(name, value) {
  if (!Array.isArray(value)) throw invalid(name, `must be an array of ports, not ${kind(value)}`);
  const entries = Array.from(value, (entry) =>
    typeof entry === 'number' ? String(entry) : text(name, entry),
  );
  return entries.join();
}

function milliseconds(name, value) {
  if (typeof value !== 'number') throw invalid(name, `must be a number, not ${kind(value)}`);
  if (!Number.isSafeInteger(value) || value < 0) {
    throw invalid(name, `${value} is not a whole number of milliseconds, 0 or more`);
  }
  return value;
}

function days(name, value) {
  if (typeof value !== 'number') throw invalid(name, `must be a number, not ${kind(value)}`);
  // The addon would take it modulo 2 ** 32.
  if (!Number.isInteger(value) || value < 0 || value > 0xffff_ffff) {
    throw invalid(name, `${value} is not a number of days (1 to 4294967295)`);
  }
  return value;
}

function wholeNumber(name, value) {
  if (typeof value !== 'number') throw invalid(name, `must be a number, not ${kind(value)}`);
  // The addon would take it modulo 2 ** 32.
  if (!Number.isInteger(value) || value < 0 || value > 0x7fff_ffff) {
    throw invalid(name, `${value} is not a whole number, 0 to 2147483647`);
  }
  return value;
}

function protocol(name, value) {
  if (value === 'tcp' || value === 'udp') return value;
  throw invalid(name, "must be 'tcp' or 'udp'");
}

function groupKey(name, value) {
  if (value === 'tag' || value === 'variable') return value;
  throw invalid(name, "must be 'tag' or 'variable'");
}

function kind(value) {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  return `${typeof value === 'object' ? 'an' : 'a'} ${typeof value}`;
}

function invalid(argument, reason) {
  const message = `Invalid ${argument}: ${reason}`;
  return new TropError({ message, code: 'TROP_INVALID_ARGUMENT', number: -1, argument });
}

/** Returns the value of a native call, or throws its failure as an error of this realm. */
function unwrap(answer) {
  if (answer?.code === undefined) return answer;
  const { argument, message } = answer;
  // The core writes data_dir where callers write dataDir.
  const name = argument?.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
  throw new TropError({
    ...answer,
    argument: name,
    message: message.replace(`Invalid ${argument}:`, `Invalid ${name}:`),
  });
}

// Results as values of this realm, made of the addon's.

function same(value) {
  return value;
}

function reserved(port, path, tag, project, task, createdAt, lastUsedAt, created, refusal, removed) {
  return {
    port,
    path,
    tag,
    project,
    task,
    createdAt: new Date(createdAt * 1000),
    lastUsedAt: new Date(lastUsedAt * 1000),
    created,
    refusal,
    cleanup: removed && cleanup(removed),
  };
}

function found(row) {
  return row && reservation(row);
}

function reservations(rows) {
  return Array.from(rows, reservation);
}

function reservation([port, path, tag, project, task, createdAt, lastUsedAt]) {
  return {
    port,
    path,
    tag,
    project,
    task,
    createdAt: new Date(createdAt * 1000),
    lastUsedAt: new Date(lastUsedAt * 1000),
  };
}

function leased(handle, port, label) {
  return new Lease(handle, port, label);
}

function leasedObject({ handle, port, label }) {
  return leased(handle, port, label);
}

function leases(objects) {
  return Array.from(objects, leaseInfo);
}

function leaseInfo(lease) {
  return { ...lease, since: new Date(lease.since * 1000) };
}

function explanation(fields) {
  const { reservation: row, lease, ...rest } = fields;
  return { ...rest, reservation: found(row), lease: lease && leaseInfo(lease) };
}

/** The file descriptor of a socket, which the caller has to close from now on. */
function descriptor(answer) {
  return native.takeDescriptor(unwrap(answer));
}

/** Without a prototype, because a tag may be called __proto__. */
function mapping(entries) {
  const ports = Object.create(null);
  for (const [name, port] of entries) ports[name] = port;
  return ports;
}

function cleanup([pruned, expired, preserved, days]) {
  return {
    pruned: reservations(pruned),
    expired: reservations(expired),
    preserved: Array.from(preserved, ([path, cause]) => ({ path, cause })),
    days,
  };
}

function migration([from, to, moves, conflicts]) {
  return {
    from,
    to,
    moves: Array.from(moves, ([row, to]) => Object.assign(reservation(row), { to })),
    conflicts: reservations(conflicts),
  };
}

function copies(objects) {
  return Array.from(objects, (object) => ({ ...object }));
}

function load() {
  const { platform, arch, version } = process;
  try {
    return require(`./trop.${platform}-${arch}.node`);
  } catch (cause) {
    const message =
      `unsupported: trop has no addon that loads on ${platform}-${arch} with Node ${version} ` +
      `(${cause.message}); build one with 'npm run build' in the package's source`;
    throw new TropError({ message, code: 'TROP_UNSUPPORTED', number: -13 }, { cause });
  }
}

function hidden(object, name, value) {
  Object.defineProperty(object, name, { value, configurable: true, writable: true });
}
