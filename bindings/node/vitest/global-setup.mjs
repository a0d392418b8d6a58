import { createRequire } from 'node:module';

export const { openSession: setup, closeSession: teardown } = createRequire(import.meta.url)('../runner.js');
