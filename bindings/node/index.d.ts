/// <reference lib="esnext.disposable" />

/** Which probes tell whether something else on this machine has a port: all by default, on loopback. */
export interface OccupancyOptions {
  /** Do not look whether something else on this machine has a port. */
  skipOccupancyCheck?: boolean | undefined;
  /** Do not look at TCP. */
  skipTcp?: boolean | undefined;
  /** Do not look at UDP. */
  skipUdp?: boolean | undefined;
  /** Do not look at IPv4. */
  skipIpv4?: boolean | undefined;
  /** Do not look at IPv6. */
  skipIpv6?: boolean | undefined;
  /**
   * Whether a socket on any address counts, not only one on loopback; by default as configured, else yes for
   * leases and no for reservations.
   */
  checkAllInterfaces?: boolean | undefined;
}

/** Of every call that changes something. */
export interface DryRunOptions {
  /**
   * Do it on a copy in memory: the answer, or the error, is that of the real call, and nothing is changed. No
   * lock is needed, no file created.
   */
  dryRun?: boolean | undefined;
}

/** The permissions to change what an existing key has stored, and the path guard. */
export interface PermissionOptions {
  /** Whether the path may be neither above nor below the working directory; true by default. */
  allowUnrelatedPath?: boolean | undefined;
  /** Whether the stored project may be changed. */
  allowProjectChange?: boolean | undefined;
  /** Whether the stored task may be changed. */
  allowTaskChange?: boolean | undefined;
}

/** The numbers of a call's ports are 1 to 65535; paths are made absolute against the working directory. */
export interface ReserveOptions extends OccupancyOptions, PermissionOptions, DryRunOptions {
  /**
   * The path of the key; the working directory by default. Links in it are not followed and it need not
   * exist.
   */
  path?: string | undefined;
  /** The tag of the key, 1 to 255 bytes of UTF-8 after trimming; `null` is the same as none. */
  tag?: string | null | undefined;
  /**
   * The project to store, as long as a tag; by default what the configuration says, for a new key else git.
   */
  project?: string | undefined;
  /** Store no project; not together with `project`. */
  clearProject?: boolean | undefined;
  /** The task to store, as long as a tag; by default what the configuration says, for a new key else git. */
  task?: string | undefined;
  /** Store no task; not together with `task`. */
  clearTask?: boolean | undefined;
  /** A wish for a new key; an existing key keeps its port, unless `overwrite` is set. */
  port?: number | undefined;
  /** Replaces the lower end of the registry's range. */
  min?: number | undefined;
  /** Replaces the upper end of the registry's range. */
  max?: number | undefined;
  /** Give an existing key a port anew, as if it had none. */
  overwrite?: boolean | undefined;
  /** The preferred `port` may be in use. */
  ignoreOccupied?: boolean | undefined;
  /** The preferred `port` may be excluded. */
  ignoreExclusions?: boolean | undefined;
  /** All of `overwrite`, `ignoreOccupied`, `ignoreExclusions` and the three permissions. */
  force?: boolean | undefined;
  /** Leave an exhausted range with the reservations of missing directories. */
  disableAutoprune?: boolean | undefined;
  /** Leave an exhausted range with the reservations that were not used for long. */
  disableAutoexpire?: boolean | undefined;
}

/** Which group to reserve, and how. */
export interface ReserveGroupOptions extends OccupancyOptions, PermissionOptions, DryRunOptions {
  /**
   * The file that defines the group; by default the project's files, which the registry found when it was
   * opened.
   */
  file?: string | undefined;
  /** The task to store; by default what the configuration says, for new reservations else git. */
  task?: string | undefined;
  /** Whether the mapping goes from tags, the default, or from names of environment variables. */
  by?: GroupKey | undefined;
  /** The three permissions, and that reservations which do not fit the group are replaced by it. */
  force?: boolean | undefined;
}

/** What the ports of a group are called by. */
export type GroupKey = 'tag' | 'variable';

/** Ports by tag or by variable. It has no prototype, because a tag may have any name. */
export type GroupPorts = Record<string, number>;

/** By default every reservation of the working directory is released, tagged or not. */
export interface ReleaseOptions extends DryRunOptions {
  /** The path; the working directory by default. */
  path?: string | undefined;
  /** Only the reservation with this tag. */
  tag?: string | undefined;
  /** Only the reservation without a tag. */
  untaggedOnly?: boolean | undefined;
  /** The same of every path below. */
  recursive?: boolean | undefined;
  /** Whether the path may be neither above nor below the working directory; true by default. */
  allowUnrelatedPath?: boolean | undefined;
}

/** How to release a port. */
export interface ReleasePortOptions extends DryRunOptions {
  /** End a lease of somebody who is alive, too. */
  force?: boolean | undefined;
}

/** What to lease. */
export interface LeaseOptions extends OccupancyOptions {
  /** A wish, for the first of several ports. */
  port?: number | undefined;
  /** Replaces the lower end of the registry's range of leases. */
  min?: number | undefined;
  /** Replaces the upper end of the registry's range of leases. */
  max?: number | undefined;
  /** What it is for, for people reading lists: 1 to 255 bytes of UTF-8 after trimming. */
  label?: string | undefined;
  /**
   * Keep a socket bound to the port, so that the system gives it to nobody; `listen` and servers of Node.js
   * can use it all the same. Linux only.
   */
  hold?: boolean | undefined;
}

/** What to lease. */
export interface LeaseManyOptions extends LeaseOptions {
  /** Whether the ports have to be neighbours. */
  contiguous?: boolean | undefined;
}

/** Where and how to listen. */
export interface ListenOptions {
  /** An address or a name; `127.0.0.1` by default. */
  host?: string | undefined;
  /** How many connections may wait, 128 by default; `server.listen` sets it anew. */
  backlog?: number | undefined;
}

/** What to bind, and where. */
export interface BindOptions {
  /** TCP by default. */
  protocol?: 'tcp' | 'udp' | undefined;
  /** An address or a name; `127.0.0.1` by default. */
  host?: string | undefined;
}

/** How long to wait. */
export interface WaitOptions {
  /** Whole milliseconds; 10000 by default. */
  timeout?: number | undefined;
}

/** The key to look for. */
export interface FindOptions {
  /** The path; the working directory by default. */
  path?: string | undefined;
  /** The tag; `null` is the same as none. */
  tag?: string | null | undefined;
}

/** Which reservations are meant; all that is given must hold. */
export interface ListOptions {
  /** Exactly this project. */
  project?: string | undefined;
  /** Exactly this tag. */
  tag?: string | undefined;
  /** This path and everything below it, with links followed or not. */
  path?: string | undefined;
}

/** When a reservation expires. */
export interface ExpireOptions extends DryRunOptions {
  /** After how many days without use, 1 to 4294967295; what the configuration says by default, else 30. */
  days?: number | undefined;
}

/** How to move reservations. */
export interface MigrateOptions extends DryRunOptions {
  /** Move those of all paths below along. */
  recursive?: boolean | undefined;
  /** Remove the reservations that are in the way. */
  force?: boolean | undefined;
}

/** What to scan; the registry's range of reservations by default. */
export interface ScanOptions {
  /** Replaces the lower end of the registry's range. */
  min?: number | undefined;
  /** Replaces the upper end of the registry's range. */
  max?: number | undefined;
}

/** One port that belongs to one key until it is released. */
export interface Reservation {
  /** The port, 1 to 65535. */
  port: number;
  /** The absolute path of the key. */
  path: string;
  /** The tag of the key. */
  tag: string | null;
  /** The project, for people reading lists. */
  project: string | null;
  /** The task, for people reading lists. */
  task: string | null;
  /** When the key got its first port, in whole seconds. */
  createdAt: Date;
  /** When the key was last asked for, in whole seconds. */
  lastUsedAt: Date;
}

/** Why the port that was asked for was not used. */
export type Refusal = 'outside_range' | 'reserved' | 'excluded' | 'occupied' | 'forbidden';

/** What `reserve` did. */
export interface Reserved extends Reservation {
  /** Whether the key was new. */
  created: boolean;
  /** Why a new or overwritten key did not get the port it asked for. */
  refusal: Refusal | null;
  /** What had to be removed, because the range was exhausted. */
  cleanup: Cleanup | null;
}

/** What a clean-up removed. */
export interface Cleanup {
  /** The reservations whose directory is gone, by path, then tag. */
  pruned: Reservation[];
  /** The reservations that were not used for more than `days` and were not pruned, the oldest first. */
  expired: Reservation[];
  /**
   * The paths that could not be inspected and therefore kept their reservations, and what the system
   * answered.
   */
  preserved: { path: string; cause: string }[];
  /** The age limit in days of 86400 seconds. */
  days: number;
}

/** What `migrate` did. */
export interface Migration {
  /** The absolute path moved from. */
  from: string;
  /** The absolute path moved to. */
  to: string;
  /** The reservations as they were and, as `to`, their new paths; by old path, then tag. */
  moves: (Reservation & { to: string })[];
  /** The reservations that were in the way and removed, if forced. */
  conflicts: Reservation[];
}

/** A probe that found its port in use. */
export interface Finding {
  /** The port. */
  port: number;
  /**
   * Closing: nobody has it, only connections are left, beside which a server that sets `SO_REUSEADDR` can
   * listen.
   */
  status: 'occupied' | 'occupied (reserved)' | 'closing' | 'closing (reserved)';
  /** Whether a reservation has the port. */
  reserved: boolean;
  /** What was bound. */
  protocol: 'tcp' | 'udp';
  /** Of which family. */
  addressFamily: 'ipv4' | 'ipv6';
  /** Loopback, or all addresses. */
  scope: 'localhost' | 'wildcard';
  /** The address that was bound, such as `127.0.0.1`. */
  address: string;
  /** The process that has the port, as far as can be told. */
  processId: number | null;
  /** Its name. */
  processName: string | null;
  /** Its user's name. */
  user: string | null;
  /** Whether all three are known, some, or none. */
  ownerStatus: 'available' | 'partial' | 'unavailable';
}

/** A lease of anybody, as others see it. */
export interface LeaseInfo {
  /** The port. */
  port: number;
  /** What it is for. */
  label: string | null;
  /** Whether its owner is there. A lease that has ended is in nobody's way. */
  state: 'alive' | 'ended';
  /** The process that took it, by its own count; null if nobody knows any more. */
  pid: number | null;
  /** The command line of that process. */
  command: string | null;
  /** The working directory it was taken in. */
  directory: string;
  /** When it was taken, in whole seconds. */
  since: Date;
  /**
   * Whether the process that took it is running; `unknown` for one in another container. A lease outlives its
   * process in the children that it has forked.
   */
  processState: 'running' | 'ended' | 'unknown';
  /** The process that keeps a lease whose own process has ended; null if none is known. */
  keptBy: number | null;
}

/** Everything that is known about a port. */
export interface Explanation {
  /** The port. */
  port: number;
  /** The reservation that has it. */
  reservation: Reservation | null;
  /** The lease that has it. */
  lease: LeaseInfo | null;
  /** Whether something has it bound, as far as the registry's occupancy options ask. */
  occupied: boolean;
  /** The process that has it bound, as far as can be told. */
  processId: number | null;
  /** Its name. */
  processName: string | null;
  /** Its user's name. */
  user: string | null;
  /** Whether it lies in the registry's range of reservations or in that of leases. */
  inRange: boolean;
  /** Whether the configuration excludes it. */
  excluded: boolean;
  /** Whether no search chooses it because web clients refuse to connect to it. */
  refused: boolean;
  /**
   * Whether nobody has it, and a server that sets `SO_REUSEADDR` can use it beside connections that are left.
   */
  closing: boolean;
  /** Whether this user may not bind it. */
  forbidden: boolean;
  /** All of it in sentences for people, a line each, with what to do. */
  text: string;
}

/** Something wrong with a configuration file. */
export interface Problem {
  /** The file, absolute. */
  path: string;
  /** The line, counted from 1. */
  line: number;
  /** The key, such as `ports.min`; `configuration` for the file as a whole. */
  field: string;
  /** What is wrong, and what would be accepted. */
  reason: string;
}

/**
 * How to open a registry. What is given here has more weight than environment variables, and these more than
 * files.
 *
 * At most one of `discovery: false`, `startDir` and `configFile` may be given.
 */
export interface RegistryOptions extends OccupancyOptions {
  /** The data directory; `TROP_DATA_DIR`, else `~/.trop`, by default. */
  dataDir?: string | undefined;
  /**
   * The lowest and the highest port to choose from, for reservations and leases; what the configuration says
   * by default, else 5000 and 7000 for reservations, 10000 and 29999 for leases.
   */
  ports?: readonly [min: number, max: number] | undefined;
  /**
   * Ports never to choose, besides those of the configuration: numbers, or inclusive ranges such as
   * `'5005..5009'`.
   */
  excluded?: readonly (number | string)[] | undefined;
  /**
   * Whether no search chooses a port that browsers and `fetch` refuse to connect to. What the configuration
   * says by default, else true.
   */
  avoidUnsafePorts?: boolean | undefined;
  /**
   * How long a call waits for other users of the database, in whole milliseconds; 0 fails at once. What the
   * configuration says by default, else 5000.
   */
  busyTimeout?: number | undefined;
  /**
   * Whether a missing data directory or database is created, unless the configuration forbids it; true by
   * default.
   */
  create?: boolean | undefined;
  /** Whether configuration files are read: the user's and the project's; true by default. */
  discovery?: boolean | undefined;
  /** Where the search for the project's files starts, upward; the working directory by default. */
  startDir?: string | undefined;
  /**
   * The project's file, instead of a search; if it is `trop.yaml` or `trop.local.yaml`, both of its
   * directory.
   */
  configFile?: string | undefined;
  /** Whether the process's environment variables are part of the configuration; true by default. */
  variables?: boolean | undefined;
}

/** The stable codes of errors; more may come. */
export type TropErrorCode =
  | 'TROP_INVALID_ARGUMENT'
  | 'TROP_EXHAUSTED'
  | 'TROP_BUSY'
  | 'TROP_NOT_FOUND'
  | 'TROP_CONFLICT'
  | 'TROP_STICKY_FIELD'
  | 'TROP_UNRELATED_PATH'
  | 'TROP_CONFIG'
  | 'TROP_CORRUPT'
  | 'TROP_SCHEMA'
  | 'TROP_NO_DATA_DIR'
  | 'TROP_IO'
  | 'TROP_UNSUPPORTED'
  | 'TROP_CLOSED'
  | 'TROP_NOT_LISTENING'
  | 'TROP_SECOND_COPY'
  | 'TROP_PANIC';

/** Every error of trop. Tell errors apart by `code`; `instanceof` fails between realms, such as Jest's. */
export class TropError extends Error {
  private constructor();
  readonly name: 'TropError';
  /** What went wrong. */
  readonly code: TropErrorCode;
  /** The number of the code, the same in every language; negative. */
  readonly number: number;
  /** The argument or setting to blame, if one is. */
  readonly argument?: string;
  /** With `TROP_IO`, the operating system's error number, positive as in C, where it is known. */
  readonly errno?: number;
}

/**
 * A port that belongs to this process until the lease is closed, its registry is closed, or its thread or
 * process ends in any way. Where a string or a number is needed it is that of the port.
 *
 * A `Lease` that becomes garbage before emits a warning, with `code: 'TROP_FORGOTTEN_LEASE'`, and goes on; of
 * more than 256 of those in a process the oldest end. For a number alone there is `port`. Child processes
 * have none of it.
 */
export interface Lease {
  /** The port, 1 to 65535. */
  readonly port: number;
  /** What it is for. */
  readonly label: string | null;
  /** Whether it has ended. */
  readonly closed: boolean;
  /**
   * Gives the port back; closing twice is no error. Sockets on it stay open. Never waits and never fails: if
   * the registry is busy, whoever needs the port next takes it.
   */
  close(): void;
  /** The digits of the port. */
  toString(): string;
  /** The port. */
  valueOf(): number;
  /**
   * A listening TCP socket on the port: a file descriptor for `server.listen({ fd })`, else for the caller to
   * close. In a worker of `cluster`, listen with `{ fd, exclusive: true }`.
   *
   * @throws {TropError} `TROP_CLOSED`, `TROP_INVALID_ARGUMENT` for an unknown host, `TROP_IO` when it cannot
   * listen there, `TROP_UNSUPPORTED` on Windows
   */
  listen(options?: ListenOptions): number;
  /** As `listen`, without blocking the event loop for the look-up of a host. */
  listenAsync(options?: ListenOptions): Promise<number>;
  /**
   * A socket that is bound to the port: a file descriptor, as for `dgram`'s `socket.bind({ fd })`, else for
   * the caller to close.
   *
   * @throws {TropError} as `listen`
   */
  bind(options?: BindOptions): number;
  /** As `bind`, without blocking the event loop for the look-up of a host. */
  bindAsync(options?: BindOptions): Promise<number>;
  /**
   * Resolves when something of this process, or of one that it started, accepts connections on the port.
   * There is no synchronous twin: it would keep the event loop from starting the server.
   *
   * @throws {TropError} `TROP_NOT_LISTENING` in time, or at once when somebody else listens there;
   * `TROP_CLOSED`
   */
  waitListening(options?: WaitOptions): Promise<void>;
  /** The same as `close`. */
  [Symbol.dispose](): void;
}

/**
 * A registry of one's own: one connection to one database. Closed by `close`; when it is garbage, only its
 * files are closed, and leases and ports that it has given last.
 *
 * Its calls are those of the module, in this registry; `TROP_CLOSED` when it is closed.
 */
export class Registry {
  /**
   * Opens the registry, and creates the data directory and the database if they are absent.
   *
   * @throws {TropError} `TROP_INVALID_ARGUMENT`, `TROP_CONFIG`, `TROP_NO_DATA_DIR`, `TROP_IO`, `TROP_BUSY`,
   * `TROP_SCHEMA`, `TROP_CORRUPT`, `TROP_UNSUPPORTED`, `TROP_SECOND_COPY`
   */
  constructor(options?: RegistryOptions);
  /**
   * As the constructor, without blocking the event loop for the database; configuration files are read at the
   * call.
   */
  static openAsync(options?: RegistryOptions): Promise<Registry>;
  /** The data directory, absolute. */
  readonly dataDir: string;
  /** Whether `close` was called. */
  readonly closed: boolean;
  /** As the module's `reserve`. */
  reserve(options?: ReserveOptions): Reserved;
  /** As `reserve`, without blocking the event loop. */
  reserveAsync(options?: ReserveOptions): Promise<Reserved>;
  /** As the module's `reserveGroup`. */
  reserveGroup(options?: ReserveGroupOptions): GroupPorts;
  /** As `reserveGroup`, without blocking the event loop. */
  reserveGroupAsync(options?: ReserveGroupOptions): Promise<GroupPorts>;
  /** As the module's `release`. */
  release(options?: ReleaseOptions): number;
  /** As `release`, without blocking the event loop. */
  releaseAsync(options?: ReleaseOptions): Promise<number>;
  /** As the module's `releasePort`. */
  releasePort(port: number, options?: ReleasePortOptions): boolean;
  /** As `releasePort`, without blocking the event loop. */
  releasePortAsync(port: number, options?: ReleasePortOptions): Promise<boolean>;
  /** As the module's `lease`. */
  lease(options?: LeaseOptions): Lease;
  /** As `lease`, without blocking the event loop. */
  leaseAsync(options?: LeaseOptions): Promise<Lease>;
  /** As the module's `leaseMany`. */
  leaseMany(count: number, options?: LeaseManyOptions): Lease[];
  /** As `leaseMany`, without blocking the event loop. */
  leaseManyAsync(count: number, options?: LeaseManyOptions): Promise<Lease[]>;
  /** As the module's `port`, and until the registry is closed at most. */
  port(options?: LeaseOptions): number;
  /** As `port`, without blocking the event loop. */
  portAsync(options?: LeaseOptions): Promise<number>;
  /** As the module's `ports`, and until the registry is closed at most. */
  ports(count: number, options?: LeaseManyOptions): number[];
  /** As `ports`, without blocking the event loop. */
  portsAsync(count: number, options?: LeaseManyOptions): Promise<number[]>;
  /** As the module's `leases`. */
  leases(): LeaseInfo[];
  /** As `leases`, without blocking the event loop. */
  leasesAsync(): Promise<LeaseInfo[]>;
  /** The leases of this registry. */
  ownLeases(): LeaseInfo[];
  /** As `ownLeases`, without blocking the event loop. */
  ownLeasesAsync(): Promise<LeaseInfo[]>;
  /** As the module's `explain`. */
  explain(port: number): Explanation;
  /** As `explain`, without blocking the event loop. */
  explainAsync(port: number): Promise<Explanation>;
  /** As the module's `find`. */
  find(options?: FindOptions): Reservation | null;
  /** As `find`, without blocking the event loop. */
  findAsync(options?: FindOptions): Promise<Reservation | null>;
  /** As the module's `findPort`. */
  findPort(port: number): Reservation | null;
  /** As `findPort`, without blocking the event loop. */
  findPortAsync(port: number): Promise<Reservation | null>;
  /** As the module's `list`. */
  list(options?: ListOptions): Reservation[];
  /** As `list`, without blocking the event loop. */
  listAsync(options?: ListOptions): Promise<Reservation[]>;
  /** As the module's `projects`. */
  projects(): string[];
  /** As `projects`, without blocking the event loop. */
  projectsAsync(): Promise<string[]>;
  /** As the module's `prune`. */
  prune(options?: DryRunOptions): Cleanup;
  /** As `prune`, without blocking the event loop. */
  pruneAsync(options?: DryRunOptions): Promise<Cleanup>;
  /** As the module's `expire`. */
  expire(options?: ExpireOptions): Cleanup;
  /** As `expire`, without blocking the event loop. */
  expireAsync(options?: ExpireOptions): Promise<Cleanup>;
  /** As the module's `autoclean`. */
  autoclean(options?: ExpireOptions): Cleanup;
  /** As `autoclean`, without blocking the event loop. */
  autocleanAsync(options?: ExpireOptions): Promise<Cleanup>;
  /** As the module's `migrate`. */
  migrate(from: string, to: string, options?: MigrateOptions): Migration;
  /** As `migrate`, without blocking the event loop. */
  migrateAsync(from: string, to: string, options?: MigrateOptions): Promise<Migration>;
  /** As the module's `scan`. */
  scan(options?: ScanOptions): Finding[];
  /** As `scan`, without blocking the event loop. */
  scanAsync(options?: ScanOptions): Promise<Finding[]>;
  /** As the module's `validateDatabase`. */
  validateDatabase(): void;
  /** As `validateDatabase`, without blocking the event loop. */
  validateDatabaseAsync(): Promise<void>;
  /**
   * Closes the connection; the reservations stay. Later calls fail with `TROP_CLOSED`; closing twice is no
   * error.
   */
  close(): void;
  /** `close`, where the runtime has `Symbol.dispose`. */
  [Symbol.dispose](): void;
}

/**
 * Reserves the port of a key: the one it has, else the one asked for if it is usable, else the lowest usable
 * one of the range. An exhausted range is cleaned up, as far as that is not disabled, and tried once more.
 *
 * @throws {TropError} `TROP_INVALID_ARGUMENT`, `TROP_EXHAUSTED` when no port of the range is usable,
 * `TROP_STICKY_FIELD`, `TROP_BUSY`, `TROP_UNRELATED_PATH`, `TROP_CONFIG`, and every code of opening the
 * registry; nothing is changed then
 */
export function reserve(options?: ReserveOptions): Reserved;
/** As `reserve`, without blocking the event loop; paths mean what they mean at the call. */
export function reserveAsync(options?: ReserveOptions): Promise<Reserved>;
/**
 * Reserves the ports of a project's group of services, all or none, and returns them by tag or by variable,
 * in that order. The same group gets the same ports again.
 *
 * @throws {TropError} `TROP_INVALID_ARGUMENT` for a missing file, `TROP_NOT_FOUND` when no group is defined,
 * `TROP_CONFLICT` with reservations that do not fit, `TROP_EXHAUSTED`, `TROP_STICKY_FIELD`, `TROP_CONFIG`,
 * `TROP_UNRELATED_PATH`, `TROP_BUSY`, and every code of opening the registry; nothing is changed then
 */
export function reserveGroup(options?: ReserveGroupOptions): GroupPorts;
/** As `reserveGroup`, without blocking the event loop; paths mean what they mean at the call. */
export function reserveGroupAsync(options?: ReserveGroupOptions): Promise<GroupPorts>;
/**
 * Releases the selected reservations of one path, all or none, and tells how many there were; none is no
 * error.
 *
 * @throws {TropError} `TROP_INVALID_ARGUMENT`, `TROP_BUSY`, `TROP_UNRELATED_PATH`, and every code of opening
 * the registry; nothing is changed then
 */
export function release(options?: ReleaseOptions): number;
/** As `release`, without blocking the event loop; paths mean what they mean at the call. */
export function releaseAsync(options?: ReleaseOptions): Promise<number>;
/**
 * Releases a port, whatever its path, and tells whether somebody had it. A lease of somebody else who is
 * alive is ended by force only.
 *
 * @throws {TropError} `TROP_INVALID_ARGUMENT`, `TROP_CONFLICT` when a live lease has it, `TROP_BUSY`, and
 * every code of opening the registry; nothing is changed then
 */
export function releasePort(port: number, options?: ReleasePortOptions): boolean;
/** As `releasePort`, without blocking the event loop. */
export function releasePortAsync(port: number, options?: ReleasePortOptions): Promise<boolean>;
/**
 * Leases a port: the one asked for if it is usable, else the lowest usable one of the range that has rested:
 * no number that was given up comes again while there is another one. No two leases have the same port,
 * whoever asks. See `Lease` for when it ends.
 *
 * @throws {TropError} `TROP_INVALID_ARGUMENT`, `TROP_EXHAUSTED`, `TROP_UNSUPPORTED` where files cannot be
 * locked or ports not held, `TROP_CONFIG`, `TROP_BUSY`, and every code of opening the registry; nothing is
 * changed then
 */
export function lease(options?: LeaseOptions): Lease;
/** As `lease`, without blocking the event loop. */
export function leaseAsync(options?: LeaseOptions): Promise<Lease>;
/**
 * Leases `count` ports, all or none, in ascending order, the one asked for first.
 *
 * @throws {TropError} as `lease`; `TROP_INVALID_ARGUMENT` for a count of 0 or above the size of the range,
 * `TROP_EXHAUSTED` also when there are no neighbours
 */
export function leaseMany(count: number, options?: LeaseManyOptions): Lease[];
/** As `leaseMany`, without blocking the event loop. */
export function leaseManyAsync(count: number, options?: LeaseManyOptions): Promise<Lease[]>;
/**
 * The number of a port that nobody else gets until this process ends, chosen as that of `lease`; only
 * `releasePort` gives it back before.
 *
 * @throws {TropError} as `lease`
 */
export function port(options?: LeaseOptions): number;
/** As `port`, without blocking the event loop. */
export function portAsync(options?: LeaseOptions): Promise<number>;
/**
 * Several such numbers, all or none, in the order of `leaseMany`.
 *
 * @throws {TropError} as `leaseMany`
 */
export function ports(count: number, options?: LeaseManyOptions): number[];
/** As `ports`, without blocking the event loop. */
export function portsAsync(count: number, options?: LeaseManyOptions): Promise<number[]>;
/**
 * The leases of everybody, by port, also ended ones that nobody has cleared away yet.
 *
 * @throws {TropError} every code of opening the registry
 */
export function leases(): LeaseInfo[];
/** As `leases`, without blocking the event loop. */
export function leasesAsync(): Promise<LeaseInfo[]>;
/**
 * The leases that the module's own calls took in this process and this working directory, by port.
 *
 * @throws {TropError} every code of opening the registry
 */
export function ownLeases(): LeaseInfo[];
/** As `ownLeases`, without blocking the event loop. */
export function ownLeasesAsync(): Promise<LeaseInfo[]>;
/**
 * Who has a port in the registry and in the operating system, since when, and what to do.
 *
 * @throws {TropError} `TROP_INVALID_ARGUMENT`, and every code of opening the registry
 */
export function explain(port: number): Explanation;
/** As `explain`, without blocking the event loop. */
export function explainAsync(port: number): Promise<Explanation>;
/**
 * The reservation of exactly this key.
 *
 * @throws {TropError} `TROP_INVALID_ARGUMENT`, and every code of opening the registry
 */
export function find(options?: FindOptions): Reservation | null;
/** As `find`, without blocking the event loop; paths mean what they mean at the call. */
export function findAsync(options?: FindOptions): Promise<Reservation | null>;
/**
 * The reservation that has a port.
 *
 * @throws {TropError} `TROP_INVALID_ARGUMENT`, and every code of opening the registry
 */
export function findPort(port: number): Reservation | null;
/** As `findPort`, without blocking the event loop. */
export function findPortAsync(port: number): Promise<Reservation | null>;
/**
 * The reservations that are asked for, every one by default, ordered by path, then tag, the untagged one
 * first.
 *
 * @throws {TropError} `TROP_INVALID_ARGUMENT`, and every code of opening the registry
 */
export function list(options?: ListOptions): Reservation[];
/** As `list`, without blocking the event loop; paths mean what they mean at the call. */
export function listAsync(options?: ListOptions): Promise<Reservation[]>;
/**
 * The distinct projects of all reservations, in the order of their bytes.
 *
 * @throws {TropError} every code of opening the registry
 */
export function projects(): string[];
/** As `projects`, without blocking the event loop. */
export function projectsAsync(): Promise<string[]>;
/**
 * Removes the reservations whose path certainly is no directory any more, all or none.
 *
 * @throws {TropError} `TROP_BUSY`, and every code of opening the registry; nothing is changed then
 */
export function prune(options?: DryRunOptions): Cleanup;
/** As `prune`, without blocking the event loop. */
export function pruneAsync(options?: DryRunOptions): Promise<Cleanup>;
/**
 * Removes the reservations that were last used more than `days` days ago, all or none.
 *
 * @throws {TropError} `TROP_INVALID_ARGUMENT`, `TROP_BUSY`, and every code of opening the registry; nothing
 * is changed then
 */
export function expire(options?: ExpireOptions): Cleanup;
/** As `expire`, without blocking the event loop. */
export function expireAsync(options?: ExpireOptions): Promise<Cleanup>;
/**
 * `prune` and `expire` in one step, all or none. What both would remove counts as pruned.
 *
 * @throws {TropError} `TROP_INVALID_ARGUMENT`, `TROP_BUSY`, and every code of opening the registry; nothing
 * is changed then
 */
export function autoclean(options?: ExpireOptions): Cleanup;
/** As `autoclean`, without blocking the event loop. */
export function autocleanAsync(options?: ExpireOptions): Promise<Cleanup>;
/**
 * Moves the reservations of a path to another; ports, tags and all else stay. Neither path need exist.
 *
 * @throws {TropError} `TROP_NOT_FOUND` when there is nothing at exactly `from`, unless recursive,
 * `TROP_CONFLICT` when keys at `to` are taken, `TROP_INVALID_ARGUMENT`, `TROP_BUSY`, and every code of
 * opening the registry; nothing is changed then
 */
export function migrate(from: string, to: string, options?: MigrateOptions): Migration;
/** As `migrate`, without blocking the event loop; paths mean what they mean at the call. */
export function migrateAsync(from: string, to: string, options?: MigrateOptions): Promise<Migration>;
/**
 * Looks which ports of a range something on this machine has in use, by binding them: one finding for each
 * probe that failed, ordered by port. A whole range takes a while: prefer `scanAsync`.
 *
 * @throws {TropError} `TROP_INVALID_ARGUMENT`, `TROP_CONFIG` for a range that ends before it begins, and
 * every code of opening the registry
 */
export function scan(options?: ScanOptions): Finding[];
/** As `scan`, without blocking the event loop. */
export function scanAsync(options?: ScanOptions): Promise<Finding[]>;
/**
 * Checks the database in every respect: version, structure, every row, duplicates, pages. It only reads.
 *
 * @throws {TropError} `TROP_CORRUPT` for the first fault, also when there is no database, `TROP_SCHEMA`,
 * `TROP_UNSUPPORTED`, `TROP_BUSY`
 */
export function validateDatabase(): void;
/** As `validateDatabase`, without blocking the event loop. */
export function validateDatabaseAsync(): Promise<void>;
/**
 * Everything wrong with a configuration file; nothing if it is valid. A file called `config.yaml` is judged
 * as a user's, any other as a project's. No registry is opened.
 *
 * @throws {TropError} `TROP_INVALID_ARGUMENT` when it is missing or no file, `TROP_IO` when it cannot be read
 */
export function validateConfig(file: string): Problem[];
/** As `validateConfig`, without blocking the event loop; paths mean what they mean at the call. */
export function validateConfigAsync(file: string): Promise<Problem[]>;
