import type { Lease, LeaseManyOptions, LeaseOptions } from './index.js';

/** A lease of a fresh port, closed after the test file that asked for it. */
export function tropLease(options?: LeaseOptions): Lease;
/** A fresh port, which nobody else gets until the test file that asked for it has ended. */
export function tropPort(options?: LeaseOptions): number;
/** `count` fresh ports, which nobody else gets until the test file that asked for them has ended. */
export function tropPorts(count: number, options?: LeaseManyOptions): number[];
/** The port of the whole run, the same in every test file; there is one if `global-setup` is listed. */
export function tropSessionPort(): number;

type Functions = typeof import('./runner.js');

declare global {
  var tropLease: Functions['tropLease'];
  var tropPort: Functions['tropPort'];
  var tropPorts: Functions['tropPorts'];
  var tropSessionPort: Functions['tropSessionPort'];
}
