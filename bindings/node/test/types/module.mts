import trop, {
  Registry,
  autocleanAsync,
  findAsync,
  findPortAsync,
  leaseManyAsync,
  listAsync,
  migrateAsync,
  projectsAsync,
  releaseAsync,
  releasePortAsync,
  reserveAsync,
  reserveGroupAsync,
  scanAsync,
  validateConfigAsync,
  validateDatabaseAsync,
  type Cleanup,
  type Finding,
  type Lease,
  type Migration,
  type Problem,
  type Reservation,
} from 'trop';

const { port, created }: { port: number; created: boolean } = await reserveAsync({ tag: 'web' });
const ports: Record<string, number> = await reserveGroupAsync({ file: 'trop.yaml' });
const all: Reservation[] = await listAsync();
const mine: Reservation | null = await findAsync({ tag: 'web' });
const theirs: Reservation | null = await findPortAsync(5000);
const projects: string[] = await projectsAsync();
const released: number = await releaseAsync({ tag: 'web' });
const wasReserved: boolean = await releasePortAsync(port);
const cleanup: Cleanup = await autocleanAsync({ days: 7 });
const migration: Migration = await migrateAsync('a', 'b');
const findings: Finding[] = await scanAsync();
const problems: Problem[] = await validateConfigAsync('trop.yaml');
await validateDatabaseAsync();

const lease: Lease = await trop.leaseAsync({ label: 'web' });
await lease.waitListening({ timeout: 500 });
(await lease.listenAsync()) satisfies number;
(await lease.bindAsync({ host: 'localhost' })) satisfies number;
lease.close();
`${lease}` satisfies string;
(await trop.portAsync({ label: 'bare' })) satisfies number;
(await trop.portsAsync(2, { contiguous: true })) satisfies number[];
(await leaseManyAsync(2, { contiguous: true })) satisfies Lease[];
(await trop.leasesAsync()) satisfies trop.LeaseInfo[];
(await trop.ownLeasesAsync()) satisfies trop.LeaseInfo[];
(await trop.explainAsync(5000)).text satisfies string;

const registry: trop.Registry = await Registry.openAsync({ busyTimeout: 0, create: false, skipUdp: true });
const again: trop.Reserved = await registry.reserveAsync();
const pruned: Cleanup = await registry.pruneAsync({ dryRun: true });
const expired: Cleanup = await registry.expireAsync({ days: 7 });
registry.close();

// @ts-expect-error: a promise has no port
trop.reserveAsync().port;
// @ts-expect-error: of the module only
registry.validateConfigAsync('trop.yaml');
// @ts-expect-error: opened, not assigned
registry.dataDir = 'elsewhere';
