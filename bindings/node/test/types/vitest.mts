import { tropLease, tropPort, tropPorts, tropSessionPort } from 'trop/vitest';

tropPort({ min: 5000 }) satisfies number;
tropPorts(3) satisfies number[];
tropSessionPort() satisfies number;
globalThis.tropLease satisfies typeof tropLease;
await tropLease().waitListening();

// @ts-expect-error: a single port has no neighbours
tropPort({ contiguous: true });
