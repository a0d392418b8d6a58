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

/** Modes of the constructor: the registry of the module's own functions, and one that openAsync connects. */
const SHARED = Symbol('shared');
const UNCONNECTED = Symbol('unconnected');

class Registry {
  /** The native registry; none means the shared one of the data directory and working directory of each call. */
  #handle;
  #closed = false;

  constructor(options, mode) {
    if (mode === SHARED) return;
    this.#handle = unwrap(native.open(registryOptions(options)));
    if (mode !== UNCONNECTED) unwrap(native.connect(this.#handle));
  }

  static async openAsync(options) {
    const registry = new Registry(options, UNCONNECTED);
    unwrap(await native.connectAsync(registry.#handle));
    return registry;
  }

  get dataDir() {
    return native.dataDir(this.#handle);
  }

  get closed() {
    return this.#closed;
  }

  reserve(options) {
    return reserved(unwrap(native.reserve(this.#place(), ...reserveArguments(options))));
  }

  async reserveAsync(options) {
    return reserved(unwrap(await native.reserveAsync(this.#place(), ...reserveArguments(options))));
  }

  release(options) {
    return unwrap(native.release(this.#place(), ...releaseArguments(options)));
  }

  async releaseAsync(options) {
    return unwrap(await native.releaseAsync(this.#place(), ...releaseArguments(options)));
  }

  list() {
    return Array.from(unwrap(native.list(this.#place())), reservation);
  }

  async listAsync() {
    return Array.from(unwrap(await native.listAsync(this.#place())), reservation);
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

const shared = new Registry(undefined, SHARED);

module.exports = {
  reserve: (options) => shared.reserve(options),
  reserveAsync: (options) => shared.reserveAsync(options),
  release: (options) => shared.release(options),
  releaseAsync: (options) => shared.releaseAsync(options),
  list: () => shared.list(),
  listAsync: () => shared.listAsync(),
  Registry,
  TropError,
};

const RESERVE = names('path', 'tag', 'port', 'min', 'max', 'allowUnrelatedPath');

function reserveArguments(options = {}) {
  checkNames(options, RESERVE);
  const { path, tag, port, min, max, allowUnrelatedPath } = options;
  return [
    text('path', path),
    // A reservation without a tag has null there: what list() returns can be asked for again.
    text('tag', tag ?? undefined),
    portNumber('port', port),
    portNumber('min', min),
    portNumber('max', max),
    flag('allowUnrelatedPath', allowUnrelatedPath),
  ];
}

const RELEASE = names('path', 'tag', 'untaggedOnly', 'allowUnrelatedPath');

function releaseArguments(options = {}) {
  checkNames(options, RELEASE);
  const { path, tag, untaggedOnly, allowUnrelatedPath } = options;
  return [
    text('path', path),
    // No null here: without a tag everything at the path is released.
    text('tag', tag),
    flag('untaggedOnly', untaggedOnly),
    flag('allowUnrelatedPath', allowUnrelatedPath),
  ];
}

const FLAGS = [
  'create',
  'skipOccupancyCheck',
  'skipTcp',
  'skipUdp',
  'skipIpv4',
  'skipIpv6',
  'checkAllInterfaces',
];
const REGISTRY = names('dataDir', 'ports', 'excluded', 'busyTimeout', ...FLAGS);

function registryOptions(options = {}) {
  checkNames(options, REGISTRY);
  const { dataDir, ports, excluded, busyTimeout } = options;
  const checked = {
    dataDir: text('dataDir', dataDir) ?? environmentDataDir(),
    ports: portRange(ports),
    excluded: portList(excluded),
    busyTimeout: milliseconds(busyTimeout),
  };
  for (const name of FLAGS) checked[name] = flag(name, options[name]);
  return checked;
}

/** What `process.env` of this realm or worker says, which the process itself need not know. */
function environmentDataDir() {
  const dataDir = process.env.TROP_DATA_DIR;
  if (dataDir?.includes('\ufffd')) throw invalid('dataDir', 'TROP_DATA_DIR is not valid UTF-8');
  return text('dataDir', dataDir);
}

function names(...list) {
  return Object.assign(Object.create(null), ...list.map((name) => ({ [name]: true })));
}

/** A misspelt option must not be ignored: it would reserve something else. */
function checkNames(options, known) {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw invalid('options', `must be an object, not ${kind(options)}`);
  }
  for (const name in options) {
    if (!known[name]) throw invalid(name, `no such option; there are ${Object.keys(known).join(', ')}`);
  }
}

function text(name, value) {
  if (value === undefined) return undefined;
  if (typeof value !== 'string') throw invalid(name, `must be a string, not ${kind(value)}`);
  // The conversion to UTF-8 would replace them.
  if (!value.isWellFormed()) throw invalid(name, 'contains a lone surrogate, which is not valid Unicode');
  return value;
}

function flag(name, value) {
  if (value === undefined || typeof value === 'boolean') return value;
  throw invalid(name, `must be true or false, not ${kind(value)}`);
}

function portNumber(name, value) {
  if (value === undefined) return undefined;
  if (typeof value !== 'number') throw invalid(name, `must be a number, not ${kind(value)}`);
  if (!Number.isSafeInteger(value)) throw invalid(name, `${value} is not a port number (1 to 65535)`);
  return value;
}

function portRange(value) {
  if (value === undefined) return undefined;
  if (!Array.isArray(value)) throw invalid('ports', `must be an array [min, max], not ${kind(value)}`);
  const [min, max, ...rest] = value.map((port) => portNumber('ports', port));
  if (min === undefined || max === undefined || rest.length > 0) {
    throw invalid('ports', 'must be an array of exactly two ports, [min, max]');
  }
  return [min, max];
}

function portList(value) {
  if (value === undefined) return undefined;
  if (!Array.isArray(value)) throw invalid('excluded', `must be an array of ports, not ${kind(value)}`);
  return Array.from(value, (entry) => {
    return typeof entry === 'number' ? String(entry) : text('excluded', entry ?? null);
  }).join();
}

function milliseconds(value) {
  if (value === undefined) return undefined;
  if (typeof value !== 'number') throw invalid('busyTimeout', `must be a number, not ${kind(value)}`);
  if (!Number.isSafeInteger(value) || value < 0) {
    throw invalid('busyTimeout', `${value} is not a whole number of milliseconds, 0 or more`);
  }
  return value;
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
  if (answer.code === undefined) return answer;
  const { argument, message } = answer;
  // The core writes data_dir where callers write dataDir.
  const name = argument?.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
  throw new TropError({
    ...answer,
    argument: name,
    message: message.replace(`Invalid ${argument}:`, `Invalid ${name}:`),
  });
}

function reserved([row, created, refusal]) {
  return Object.assign(reservation(row), { created, refusal });
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
