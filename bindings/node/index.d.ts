/// <reference lib="esnext.disposable" />

/** The numbers of a call's ports are 1 to 65535; paths are made absolute against the working directory. */
export interface ReserveOptions {
  /** The path of the key; the working directory by default. Links in it are not followed and it need not exist. */
  path?: string | undefined;
  /** The tag of the key, 1 to 255 bytes of UTF-8 after trimming; `null` is the same as none. */
  tag?: string | null | undefined;
  /** A wish for a new key; an existing key keeps its port. */
  port?: number | undefined;
  /** Replaces the lower end of the registry's range. */
  min?: number | undefined;
  /** Replaces the upper end of the registry's range. */
  max?: number | undefined;
  /** Whether the path may be neither above nor below the working directory; true by default. */
  allowUnrelatedPath?: boolean | undefined;
}

/** By default every reservation of the working directory is released, tagged or not. */
export interface ReleaseOptions {
  /** The path; the working directory by default. */
  path?: string | undefined;
  /** Only the reservation with this tag. */
  tag?: string | undefined;
  /** Only the reservation without a tag. */
  untaggedOnly?: boolean | undefined;
  /** Whether the path may be neither above nor below the working directory; true by default. */
  allowUnrelatedPath?: boolean | undefined;
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
  /** When the key got its port, in whole seconds. */
  createdAt: Date;
  /** When the key was last asked for, in whole seconds. */
  lastUsedAt: Date;
}

/** Why the port that was asked for was not used. */
export type Refusal = 'outside_range' | 'reserved' | 'excluded' | 'occupied';

/** What `reserve` did. */
export interface Reserved extends Reservation {
  /** Whether the key was new. */
  created: boolean;
  /** Why a new key did not get the port it asked for. */
  refusal: Refusal | null;
}

/** How to open a registry. */
export interface RegistryOptions {
  /** The data directory; `TROP_DATA_DIR`, else `~/.trop`, by default. */
  dataDir?: string | undefined;
  /** The lowest and the highest port to choose from; 5000 and 7000 by default. */
  ports?: readonly [min: number, max: number] | undefined;
  /** Ports never to choose: numbers, or inclusive ranges such as `'5005..5009'`. */
  excluded?: readonly (number | string)[] | undefined;
  /** How long a call waits for other users of the database, in whole milliseconds; 5000 by default, 0 fails at once. */
  busyTimeout?: number | undefined;
  /** Whether a missing data directory or database is created; true by default. */
  create?: boolean | undefined;
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
  /** Look at the wildcard addresses too, not only at loopback. */
  checkAllInterfaces?: boolean | undefined;
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

/** A registry of one's own: one connection to one database. Closed by `close`, else when it is garbage. */
export class Registry {
  /**
   * Opens the registry, and creates the data directory and the database if they are absent.
   *
   * @throws {TropError} `TROP_INVALID_ARGUMENT`, `TROP_NO_DATA_DIR`, `TROP_IO`, `TROP_BUSY`, `TROP_SCHEMA`,
   * `TROP_CORRUPT`, `TROP_UNSUPPORTED`, `TROP_SECOND_COPY`
   */
  constructor(options?: RegistryOptions);
  /** As the constructor, without blocking the event loop. */
  static openAsync(options?: RegistryOptions): Promise<Registry>;
  /** The data directory, absolute. */
  readonly dataDir: string;
  /** Whether `close` was called. */
  readonly closed: boolean;
  /** As the module's `reserve`, in this registry; `TROP_CLOSED` when it is closed. */
  reserve(options?: ReserveOptions): Reserved;
  /** As `reserve`, without blocking the event loop. */
  reserveAsync(options?: ReserveOptions): Promise<Reserved>;
  /** As the module's `release`, in this registry; `TROP_CLOSED` when it is closed. */
  release(options?: ReleaseOptions): number;
  /** As `release`, without blocking the event loop. */
  releaseAsync(options?: ReleaseOptions): Promise<number>;
  /** As the module's `list`, in this registry; `TROP_CLOSED` when it is closed. */
  list(): Reservation[];
  /** As `list`, without blocking the event loop. */
  listAsync(): Promise<Reservation[]>;
  /** Closes the connection; the reservations stay. Later calls fail with `TROP_CLOSED`; closing twice is no error. */
  close(): void;
  /** `close`, where the runtime has `Symbol.dispose`. */
  [Symbol.dispose](): void;
}

/**
 * The port of a key: the one it has, else the one asked for if it is usable, else the lowest usable one of the range.
 *
 * @throws {TropError} `TROP_INVALID_ARGUMENT`, `TROP_EXHAUSTED` when no port of the range is usable, `TROP_BUSY`,
 * `TROP_UNRELATED_PATH`, `TROP_CONFIG`, and every code of opening the registry; nothing is changed then
 */
export function reserve(options?: ReserveOptions): Reserved;
/** As `reserve`, without blocking the event loop; paths mean what they mean at the call. */
export function reserveAsync(options?: ReserveOptions): Promise<Reserved>;
/**
 * Releases the selected reservations of one path, all or none, and tells how many there were; none is no error.
 *
 * @throws {TropError} `TROP_INVALID_ARGUMENT`, `TROP_BUSY`, `TROP_UNRELATED_PATH`, and every code of opening the
 * registry; nothing is changed then
 */
export function release(options?: ReleaseOptions): number;
/** As `release`, without blocking the event loop; paths mean what they mean at the call. */
export function releaseAsync(options?: ReleaseOptions): Promise<number>;
/**
 * Every reservation, ordered by path, then tag, the untagged one first.
 *
 * @throws {TropError} every code of opening the registry
 */
export function list(): Reservation[];
/** As `list`, without blocking the event loop. */
export function listAsync(): Promise<Reservation[]>;
