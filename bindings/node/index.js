'use strict';

/** An error of trop. Tell errors apart by `code`: Jest gives each file a class of its own. */
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

const native = load();

/**
 * Every call on a registry, each with an asynchronous twin: what its arguments become for the addon, and what its
 * caller gets for the addon's answer.
 */
const CALLS = {
  reserve: [(options) => twice(read(RESERVE, options)), reserved],
  reserveGroup: [(options) => twice(read(GROUP, options)), mapping],
  release: [(options) => [read(RELEASE, options)], (count) => count],
  releasePort: [(port, options) => [required('port', portNumber, port), read(RELEASE_PORT, options)], (was) => was],
  lease: [(options) => twice(read(LEASE, options)), (handle) => new Lease(handle)],
  leaseMany: [(count, options) => [required('count', wholeNumber, count), ...twice(read(LEASE_MANY, options))], leased],
  leases: [() => [], leases],
  ownLeases: [() => [], leases],
  explain: [(port) => [required('port', portNumber, port)], explanation],
  find: [(options) => [read(FIND, options)], found],
  findPort: [(port) => [required('port', portNumber, port)], found],
  list: [(options) => [read(LIST, options)], reservations],
  projects: [() => [], (names) => Array.from(names)],
  prune: [(options) => [read(DRY_RUN, options)], cleanup],
  expire: [(options) => [read(EXPIRE, options)], cleanup],
  autoclean: [(options) => [read(EXPIRE, options)], cleanup],
  migrate: [migrateArguments, migration],
  scan: [(options) => [read(SCAN, options)], copies],
  validateDatabase: [() => [], () => undefined],
};

/** Modes of the constructor: the registry of the module's own functions, and one that openAsync connects. */
const SHARED = Symbol('shared');
const UNCONNECTED = Symbol('unconnected');

class Registry {
  /** The native registry; none means the shared one of the data directory and working directory of each call. */
  #handle;
  #closed = false;

  constructor(options, mode) {
    if (mode === SHARED) return;
    this.#handle = unwrap(native.open(...twice(registryOptions(options))));
    if (mode !== UNCONNECTED) unwrap(native.connect(this.#handle, false));
  }

  static async openAsync(options) {
    const registry = new Registry(options, UNCONNECTED);
    unwrap(await native.connect(registry.#handle, true));
    return registry;
  }

  static {
    for (const [name, [given, result]] of Object.entries(CALLS)) {
      const twin = `${name}Async`;
      const methods = {
        [name](...args) {
          return result(unwrap(native[name](this.#place(), false, ...given(...args))));
        },
        async [twin](...args) {
          return result(unwrap(await native[name](this.#place(), true, ...given(...args))));
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

  #place() {
    return this.#handle ?? environmentDataDir();
  }
}
// Missing in the realms that Jest and vm make on Node 20.
if (Symbol.dispose) hidden(Registry.prototype, Symbol.dispose, Registry.prototype.close);

/** Not exported: only a registry makes leases. */
class Lease {
  #handle;

  constructor(handle) {
    this.#handle = handle;
    const shown = { enumerable: true };
    Object.defineProperties(this, {
      port: { value: native.port(handle), ...shown },
      label: { value: native.label(handle), ...shown },
    });
  }

  get closed() {
    return !native.isOpen(this.#handle);
  }

  close() {
    unwrap(native.closeLease(this.#handle, false));
  }

  async closeAsync() {
    unwrap(await native.closeLease(this.#handle, true));
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

  /** Without a synchronous twin, which would keep a server of this thread from starting. */
  async waitListening(options) {
    const { timeout = 10_000 } = read(WAIT, options);
    unwrap(await native.waitListening(this.#handle, timeout));
    // Mentioned after the wait, or else the lease could be garbage, and end, in the middle of it.
    void this.#handle;
  }

  static {
    // At the end of a block nobody wants to wait, or an error in place of the block's own.
    const dispose = function () {
      native.endLease(this.#handle);
    };
    if (Symbol.dispose) hidden(Lease.prototype, Symbol.dispose, dispose);
  }
}

const shared = new Registry(undefined, SHARED);

for (const name of Object.keys(CALLS).flatMap((name) => [name, `${name}Async`])) {
  module.exports[name] = { [name]: (...args) => shared[name](...args) }[name];
}
Object.assign(module.exports, {
  validateConfig: (file) => copies(unwrap(native.validateConfig(false, required('file', text, file)))),
  validateConfigAsync: async (file) => copies(unwrap(await native.validateConfig(true, required('file', text, file)))),
  Registry,
  TropError,
});

const OCCUPANCY = {
  skipOccupancyCheck: flag,
  skipTcp: flag,
  skipUdp: flag,
  skipIpv4: flag,
  skipIpv6: flag,
  checkAllInterfaces: flag,
};

const REGISTRY = {
  dataDir: text,
  create: flag,
  busyTimeout: milliseconds,
  ports: portRange,
  excluded: portList,
  discovery: flag,
  startDir: text,
  configFile: text,
  variables: flag,
  ...OCCUPANCY,
};

const RESERVE = {
  path: text,
  tag: textOrNull,
  project: text,
  clearProject: flag,
  task: text,
  clearTask: flag,
  port: portNumber,
  min: portNumber,
  max: portNumber,
  overwrite: flag,
  ignoreOccupied: flag,
  ignoreExclusions: flag,
  allowUnrelatedPath: flag,
  allowProjectChange: flag,
  allowTaskChange: flag,
  force: flag,
  disableAutoprune: flag,
  disableAutoexpire: flag,
  ...OCCUPANCY,
  dryRun: flag,
};

const GROUP = {
  file: text,
  task: text,
  by: groupKey,
  allowUnrelatedPath: flag,
  allowProjectChange: flag,
  allowTaskChange: flag,
  force: flag,
  ...OCCUPANCY,
  dryRun: flag,
};

// No null for a tag: without one everything at the path is released, or listed.
const RELEASE = {
  path: text,
  tag: text,
  untaggedOnly: flag,
  recursive: flag,
  allowUnrelatedPath: flag,
  dryRun: flag,
};
const LIST = { project: text, tag: text, path: text };

const RELEASE_PORT = { force: flag, dryRun: flag };

const LEASE = {
  port: portNumber,
  min: portNumber,
  max: portNumber,
  label: text,
  hold: flag,
  ...OCCUPANCY,
};
const LEASE_MANY = { contiguous: flag, ...LEASE };
const LISTEN = { host: text, backlog: wholeNumber };
const BIND = { protocol, host: text };
const WAIT = { timeout: milliseconds };

const FIND = { path: text, tag: textOrNull };
const DRY_RUN = { dryRun: flag };
const EXPIRE = { days, ...DRY_RUN };
const MIGRATE = { recursive: flag, force: flag, ...DRY_RUN };
const SCAN = { min: portNumber, max: portNumber };

/** The checked options of a call. A misspelt one must not be ignored: it would reserve something else. */
function read(checks, options = {}) {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw invalid('options', `must be an object, not ${kind(options)}`);
  }
  for (const name in options) {
    if (!Object.hasOwn(checks, name)) {
      throw invalid(name, `no such option; there are ${Object.keys(checks).join(', ')}`);
    }
  }
  const checked = Object.create(null);
  for (const [name, check] of Object.entries(checks)) {
    const value = options[name];
    if (value !== undefined) checked[name] = check(name, value);
  }
  return checked;
}

/** The addon takes the switches of the occupancy check, which are among the options, as an object of their own. */
function twice(options) {
  return [options, options];
}

function registryOptions(options) {
  const checked = read(REGISTRY, options);
  checked.dataDir ??= environmentDataDir();
  return checked;
}

function migrateArguments(from, to, options) {
  const paths = { from: required('from', text, from), to: required('to', text, to) };
  return [Object.assign(paths, read(MIGRATE, options))];
}

function listenArguments(options) {
  const { host = '127.0.0.1', backlog = 128 } = read(LISTEN, options);
  return [host, backlog];
}

function bindArguments(options) {
  const { protocol = 'tcp', host = '127.0.0.1' } = read(BIND, options);
  return [protocol === 'udp', host];
}

/** What `process.env` of this realm or worker says, which the process itself need not know. */
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
  // The conversion to UTF-8 would replace them.
  if (!value.isWellFormed()) throw invalid(name, 'contains a lone surrogate, which is not valid Unicode');
  return value;
}

/** A reservation without a tag has null there: what list() returns can be asked for again. */
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
  return Array.from(value, (entry) => (typeof entry === 'number' ? String(entry) : text(name, entry))).join();
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
  // The addon would take the remainder of a larger one.
  if (!Number.isInteger(value) || value < 0 || value > 0xffff_ffff) {
    throw invalid(name, `${value} is not a number of days (1 to 4294967295)`);
  }
  return value;
}

function wholeNumber(name, value) {
  if (typeof value !== 'number') throw invalid(name, `must be a number, not ${kind(value)}`);
  // The addon would take the remainder of a larger one.
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

/** The value of a native call, or its failure as an exception of this realm. */
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

// Values of this realm, made of the addon's.

function reserved([row, created, refusal, removed]) {
  return Object.assign(reservation(row), { created, refusal, cleanup: removed && cleanup(removed) });
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

function leased(handles) {
  return Array.from(handles, (handle) => new Lease(handle));
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

/** The file descriptor of a socket, from now on the caller's to close. */
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
