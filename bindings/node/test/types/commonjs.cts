import trop = require('trop');
import { TropError, type Reserved } from 'trop';

const reserved: Reserved = trop.reserve({ path: 'a', tag: 'web', port: 5010, min: 5000, max: 5100 });
const port: number = reserved.port;
const at: Date = reserved.createdAt;
reserved.refusal satisfies 'outside_range' | 'reserved' | 'excluded' | 'occupied' | 'forbidden' | null;
reserved.cleanup?.pruned satisfies trop.Reservation[] | undefined;
trop.reserve({
  project: 'shop',
  clearTask: true,
  overwrite: true,
  ignoreOccupied: true,
  ignoreExclusions: true,
  allowProjectChange: true,
  allowTaskChange: true,
  force: true,
  disableAutoprune: true,
  disableAutoexpire: true,
  skipUdp: true,
  dryRun: true,
});

for (const { path, tag } of trop.list({ project: 'shop', tag: 'web', path: '.' })) {
  trop.reserve({ path, tag, allowUnrelatedPath: false });
  trop.find({ path, tag })?.port satisfies number | undefined;
}
const released: number = trop.release({ untaggedOnly: true, recursive: true, dryRun: true });
const wasReserved: boolean = trop.releasePort(5000, { dryRun: true });
const holder: trop.Reservation | null = trop.findPort(5000);
const projects: string[] = trop.projects();

const ports: trop.GroupPorts = trop.reserveGroup({
  file: 'trop.yaml',
  task: 'cart',
  by: 'variable',
  force: true,
});
const web: number = trop.reserveGroup()['web']!;

const { pruned, expired, preserved, days }: trop.Cleanup = trop.autoclean({ days: 7, dryRun: true });
preserved satisfies { path: string; cause: string }[];
trop.prune({ dryRun: true }) satisfies trop.Cleanup;
trop.expire({ days: 7 }) satisfies trop.Cleanup;
const { moves, conflicts }: trop.Migration = trop.migrate('a', 'b', {
  recursive: true,
  force: true,
  dryRun: true,
});
moves satisfies (trop.Reservation & { to: string })[];

for (const finding of trop.scan({ min: 5000, max: 5010 })) {
  finding satisfies {
    port: number;
    status: string;
    reserved: boolean;
    protocol: 'tcp' | 'udp';
    addressFamily: 'ipv4' | 'ipv6';
    scope: 'localhost' | 'wildcard';
    address: string;
    processId: number | null;
    processName: string | null;
    user: string | null;
    ownerStatus: 'available' | 'partial' | 'unavailable';
  };
}
const lease: trop.Lease = trop.lease({
  port: 5000,
  min: 5000,
  max: 5100,
  label: 'web',
  hold: true,
  skipUdp: true,
});
lease.label satisfies string | null;
const fd: number = lease.listen({ host: '::1', backlog: 5 });
lease.bind({ protocol: 'udp' }) satisfies number;
lease.close();
trop.port({ min: 5000 }) satisfies number;
trop.ports(3) satisfies number[];
const neighbours: number[] = trop.leaseMany(3, { contiguous: true }).map(({ port }) => port);
for (const { state, pid, since } of [...trop.leases(), ...trop.ownLeases()]) {
  state satisfies 'alive' | 'ended';
  pid satisfies number | null;
  since satisfies Date;
}
const { reservation, lease: leased, text }: trop.Explanation = trop.explain(5000);
trop.releasePort(5000, { force: true });
trop.validateConfig('trop.yaml') satisfies { path: string; line: number; field: string; reason: string }[];
trop.validateDatabase() satisfies void;

try {
  using registry = new trop.Registry({
    dataDir: 'data',
    ports: [20000, 29999],
    excluded: [20001, '20005..20009'],
  });
  const closed: boolean = registry.closed;
  using inside = registry.lease();
  inside.closed satisfies boolean;
  new trop.Registry({ discovery: false, variables: false, skipTcp: true });
  new trop.Registry({ startDir: '.' }).reserveGroup({ skipOccupancyCheck: true });
  new trop.Registry({ configFile: 'trop.yaml' }).migrate('a', 'b');
} catch (error) {
  if (error instanceof TropError && error.code === 'TROP_IO') error.errno satisfies number | undefined;
}

// @ts-expect-error: a port is a number
trop.reserve({ port: '5010' });
// @ts-expect-error: no such option
trop.reserve({ tga: 'web' });
// @ts-expect-error: null would release everything
trop.release({ tag: null });
// @ts-expect-error: null would list everything
trop.list({ tag: null });
// @ts-expect-error: a port has to be named
trop.releasePort();
// @ts-expect-error: a single port has no neighbours
trop.lease({ contiguous: true });
// @ts-expect-error: how many
trop.leaseMany({ contiguous: true });
// @ts-expect-error: there is no dry run of a lease
trop.lease({ dryRun: true });
// @ts-expect-error: leased, not assigned
lease.port = 5000;
// @ts-expect-error: no such protocol
lease.bind({ protocol: 'sctp' });
// @ts-expect-error: a group has the range of its file
trop.reserveGroup({ min: 5000 });
// @ts-expect-error: the other is 'tag'
trop.reserveGroup({ by: 'name' });
// @ts-expect-error: a directory is not there to be pruned after days
trop.prune({ days: 7 });
// @ts-expect-error: both paths are needed
trop.migrate('a');
// @ts-expect-error: a range has two ends
new trop.Registry({ ports: [20000] });
// @ts-expect-error: no such code
((error: trop.TropError) => error.code === 'TROP_EXHAUSTET');
