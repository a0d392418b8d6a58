import { createRequire } from 'node:module';
import { afterAll, expect } from 'vitest';

// Required, not imported: Vitest would transform the package where it is linked, and load a second one.
const { forFile } = createRequire(import.meta.url)('../runner.js');

export const { tropLease, tropPort, tropPorts, tropSessionPort } = forFile(
  afterAll,
  () => expect.getState().testPath,
);
Object.assign(globalThis, { tropLease, tropPort, tropPorts, tropSessionPort });
