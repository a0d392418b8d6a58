import trop, { Registry, reserveAsync, releaseAsync, listAsync, type Reservation } from 'trop';

const { port, created }: { port: number; created: boolean } = await reserveAsync({ tag: 'web' });
const all: Reservation[] = await listAsync();
const released: number = await releaseAsync({ tag: 'web' });

const registry: trop.Registry = await Registry.openAsync({ busyTimeout: 0, create: false, skipUdp: true });
const again: trop.Reserved = await registry.reserveAsync();
registry.close();

// @ts-expect-error: a promise has no port
trop.reserveAsync().port;
// @ts-expect-error: opened, not assigned
registry.dataDir = 'elsewhere';
