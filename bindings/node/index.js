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

// A copy, whose properties are found faster than those of the addon's own object.
const native = { ...load() };

/**
 * Every call on a registry, each with an asynchronous twin: how the addon is asked, and what its answer becomes. Where
 * there is a third, the addon itself makes the result, with a function of ours, and only later answers become one here.
 */
const CALLS = {
  reserve: [reserve, same, (row) => reserved(...row)],
  reserveGroup: [reserveGroup, mapping],
  release: [release, same],
  releasePort: [releasePort, same],
  lease: [lease, same, leasedRow],
  leaseMany: [leaseMany, (rows) => Array.from(rows, leasedRow)],
  leases: [native.leases, leases],
  ownLeases: [native.ownLeases, leases],
  explain: [explain, explanation],
  find: [find, found],
  findPort: [findPort, found],
  list: [list, reservations],
  projects: [native.projects, (names) => Array.from(names)],
  prune: [prune, cleanup],
  expire: [expire, cleanup],
  autoclean: [autoclean, cleanup],
  migrate: [migrate, migration],
  scan: [scan, copies],
  validateDatabase: [native.validateDatabase, () => undefined],
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
    this.#handle = unwrap(native.open(registryOptions(options), occupancy(options)));
    if (mode !== UNCONNECTED) unwrap(native.connect(this.#handle, undefined, false));
  }

  static async openAsync(options) {
    const registry = new Registry(options, UNCONNECTED);
    unwrap(await native.connect(registry.#handle, undefined, true));
    return registry;
  }

  static {
    for (const [name, [ask, result, resultLater = result]] of Object.entries(CALLS)) {
      const twin = `${name}Async`;
      // None has more arguments; gathering and spreading them would take longer than passing on what is not there.
      const methods = {
        [name](a, b, c) {
          return result(unwrap(ask(this.#handle, this.#directory(), false, a, b, c)));
        },
        async [twin](a, b, c) {
          return resultLater(unwrap(await ask(this.#handle, this.#directory(), true, a, b, c)));
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

  /** That of the module's own functions, whose registry is none of ours. */
  #directory() {
    return this.#handle === undefined ? environmentDataDir() : undefined;
  }
}
// Missing in the realms that Jest and vm make on Node 20.
if (Symbol.dispose) hidden(Registry.prototype, Symbol.dispose, Registry.prototype.close);

/** Not exported: only a registry makes leases. */
class Lease {
  #handle;

  constructor(handle, port, label) {
    this.#handle = handle;
    // Not defineProperties, which takes longer for two than this twice.
    Object.defineProperty(this, 'port', { value: port, enumerable: true });
    Object.defineProperty(this, 'label', { value: label, enumerable: true });
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
  module.exports[name] = { [name]: (a, b, c) => shared[name](a, b, c) }[name];
}
Object.assign(module.exports, {
  validateConfig: (file) => copies(unwrap(native.validateConfig(false, required('file', text, file)))),
  validateConfigAsync: async (file) => copies(unwrap(await native.validateConfig(true, required('file', text, file)))),
  Registry,
  TropError,
});

const OCCUPANCY = ['skipOccupancyCheck', 'skipTcp', 'skipUdp', 'skipIpv4', 'skipIpv6', 'checkAllInterfaces'];

// The options of the calls that are made often: their names.
const RESERVE = new Set([
  'path',
  'tag',
  'project',
  'clearProject',
  'task',
  'clearTask',
  'port',
  'min',
  'max',
  'overwrite',
  'ignoreOccupied',
  'ignoreExclusions',
  'allowUnrelatedPath',
  'allowProjectChange',
  'allowTaskChange',
  'force',
  'disableAutoprune',
  'disableAutoexpire',
  ...OCCUPANCY,
  'dryRun',
]);
const RELEASE = new Set(['path', 'tag', 'untaggedOnly', 'recursive', 'allowUnrelatedPath', 'dryRun']);
const FIND = new Set(['path', 'tag']);
const LEASE = new Set(['port', 'min', 'max', 'label', 'hold', ...OCCUPANCY]);
const LEASE_MANY = new Set(['contiguous', ...LEASE]);

// Those of the others: names, and what checks them.
const REGISTRY = checks({
  dataDir: text,
  create: flag,
  busyTimeout: milliseconds,
  ports: portRange,
  excluded: portList,
  discovery: flag,
  startDir: text,
  configFile: text,
  variables: flag,
  ...flags(OCCUPANCY),
});
const GROUP = checks({
  file: text,
  task: text,
  by: groupKey,
  ...flags(['allowUnrelatedPath', 'allowProjectChange', 'allowTaskChange', 'force', ...OCCUPANCY, 'dryRun']),
});
// No null for a tag: without one everything is listed.
const LIST = checks({ project: text, tag: text, path: text });
const RELEASE_PORT = checks(flags(['force', 'dryRun']));
const LISTEN = checks({ host: text, backlog: wholeNumber });
const BIND = checks({ protocol, host: text });
const WAIT = checks({ timeout: milliseconds });
const PRUNE = checks({ dryRun: flag });
const EXPIRE = checks({ days, dryRun: flag });
const MIGRATE = checks(flags(['recursive', 'force', 'dryRun']));
const SCAN = checks({ min: portNumber, max: portNumber });

function checks(of) {
  return new Map(Object.entries(of));
}

function flags(names) {
  return Object.fromEntries(names.map((name) => [name, flag]));
}

// How the addon is asked: about a registry or the shared one of a data directory, for an answer at once or later. The
// calls that are made often hand over each option by itself and the switches as one number: the addon takes longer to
// read the properties of an object than for all else it does.

function reserve(handle, directory, later, options = {}) {
  refuseUnknown(RESERVE, options);
  const { path, tag, project, clearProject, task, clearTask, port, min, max } = options;
  const { overwrite, ignoreOccupied, ignoreExclusions, force, disableAutoprune, disableAutoexpire, dryRun } = options;
  const { allowUnrelatedPath, allowProjectChange, allowTaskChange } = options;
  return native.reserve(
    handle,
    directory,
    later,
    given('path', text, path),
    given('tag', textOrNull, tag),
    given('project', text, project),
    given('task', text, task),
    given('port', portNumber, port),
    given('min', portNumber, min),
    given('max', portNumber, max),
    on('clearProject', clearProject, native.CLEAR_PROJECT) |
      on('clearTask', clearTask, native.CLEAR_TASK) |
      on('overwrite', overwrite, native.OVERWRITE) |
      on('ignoreOccupied', ignoreOccupied, native.IGNORE_OCCUPIED) |
      on('ignoreExclusions', ignoreExclusions, native.IGNORE_EXCLUSIONS) |
      off('allowUnrelatedPath', allowUnrelatedPath, native.REFUSE_UNRELATED_PATH) |
      on('allowProjectChange', allowProjectChange, native.ALLOW_PROJECT_CHANGE) |
      on('allowTaskChange', allowTaskChange, native.ALLOW_TASK_CHANGE) |
      on('force', force, native.FORCE) |
      on('disableAutoprune', disableAutoprune, native.DISABLE_AUTOPRUNE) |
      on('disableAutoexpire', disableAutoexpire, native.DISABLE_AUTOEXPIRE) |
      occupancy(options) |
      on('dryRun', dryRun, native.DRY_RUN),
    reserved,
  );
}

function reserveGroup(handle, directory, later, options) {
  return native.reserveGroup(handle, directory, later, read(GROUP, options), occupancy(options));
}

function release(handle, directory, later, options = {}) {
  refuseUnknown(RELEASE, options);
  const { path, tag, untaggedOnly, recursive, allowUnrelatedPath, dryRun } = options;
  return native.release(
    handle,
    directory,
    later,
    given('path', text, path),
    // No null for none: without a tag everything at the path is released.
    given('tag', text, tag),
    on('untaggedOnly', untaggedOnly, native.UNTAGGED_ONLY) |
      on('recursive', recursive, native.RECURSIVE) |
      off('allowUnrelatedPath', allowUnrelatedPath, native.REFUSE_UNRELATED_PATH) |
      on('dryRun', dryRun, native.DRY_RUN),
  );
}

function releasePort(handle, directory, later, port, options) {
  const checked = required('port', portNumber, port);
  return native.releasePort(handle, directory, later, checked, read(RELEASE_PORT, options));
}

function lease(handle, directory, later, options = {}) {
  refuseUnknown(LEASE, options);
  const { port, min, max, label } = options;
  return native.lease(
    handle,
    directory,
    later,
    given('port', portNumber, port),
    given('min', portNumber, min),
    given('max', portNumber, max),
    given('label', text, label),
    leaseSwitches(options),
    leased,
  );
}

function leaseMany(handle, directory, later, count, options = {}) {
  required('count', wholeNumber, count);
  refuseUnknown(LEASE_MANY, options);
  const { contiguous, port, min, max, label } = options;
  return native.leaseMany(
    handle,
    directory,
    later,
    count,
    given('port', portNumber, port),
    given('min', portNumber, min),
    given('max', portNumber, max),
    given('label', text, label),
    on('contiguous', contiguous, native.CONTIGUOUS) | leaseSwitches(options),
  );
}

function leaseSwitches(options) {
  return on('hold', options.hold, native.HOLD) | occupancy(options);
}

function explain(handle, directory, later, port) {
  return native.explain(handle, directory, later, required('port', portNumber, port));
}

function find(handle, directory, later, options = {}) {
  refuseUnknown(FIND, options);
  const { path, tag } = options;
  return native.find(handle, directory, later, given('path', text, path), given('tag', textOrNull, tag));
}

function findPort(handle, directory, later, port) {
  return native.findPort(handle, directory, later, required('port', portNumber, port));
}

function list(handle, directory, later, options) {
  return native.list(handle, directory, later, read(LIST, options));
}

function prune(handle, directory, later, options) {
  return native.prune(handle, directory, later, read(PRUNE, options));
}

function expire(handle, directory, later, options) {
  return native.expire(handle, directory, later, read(EXPIRE, options));
}

function autoclean(handle, directory, later, options) {
  return native.autoclean(handle, directory, later, read(EXPIRE, options));
}

function migrate(handle, directory, later, from, to, options) {
  const paths = { from: required('from', text, from), to: required('to', text, to) };
  return native.migrate(handle, directory, later, Object.assign(paths, read(MIGRATE, options)));
}

function scan(handle, directory, later, options) {
  return native.scan(handle, directory, later, read(SCAN, options));
}

/** The checked options of a call. */
function read(checks, options = {}) {
  refuseUnknown(checks, options);
  const checked = Object.create(null);
  for (const [name, check] of checks) {
    const value = options[name];
    if (value !== undefined) checked[name] = check(name, value);
  }
  return checked;
}

/** A misspelt option must not be ignored: the call would do something else. */
function refuseUnknown(known, options) {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw invalid('options', `must be an object, not ${kind(options)}`);
  }
  for (const name in options) {
    if (!known.has(name)) throw invalid(name, `no such option; there are ${[...known.keys()].join(', ')}`);
  }
}

/** An option, checked if it is given. */
function given(name, check, value) {
  return value === undefined ? undefined : check(name, value);
}

/** The addon's number of a switch that is on. */
function on(name, value, number) {
  return given(name, flag, value) ? number : 0;
}

/** The same for a switch that is on unless it is turned off. */
function off(name, value, number) {
  return given(name, flag, value) === false ? number : 0;
}

/** The switches of the occupancy check. */
function occupancy({ skipOccupancyCheck, skipTcp, skipUdp, skipIpv4, skipIpv6, checkAllInterfaces } = {}) {
  return (
    on('skipOccupancyCheck', skipOccupancyCheck, native.SKIP_OCCUPANCY_CHECK) |
    on('skipTcp', skipTcp, native.SKIP_TCP) |
    on('skipUdp', skipUdp, native.SKIP_UDP) |
    on('skipIpv4', skipIpv4, native.SKIP_IPV4) |
    on('skipIpv6', skipIpv6, native.SKIP_IPV6) |
    on('checkAllInterfaces', checkAllInterfaces, native.CHECK_ALL_INTERFACES)
  );
}

function registryOptions(options) {
  const checked = read(REGISTRY, options);
  checked.dataDir ??= environmentDataDir();
  return checked;
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

function leasedRow({ handle, port, label }) {
  return new Lease(handle, port, label);
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
