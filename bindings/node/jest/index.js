'use strict';

const { forFile } = require('../runner.js');
const { afterAll, expect } = require('@jest/globals');

if (!afterAll) throw new Error('list trop/jest in setupFilesAfterEnv: in setupFiles there are no tests yet');

// Once for a file: after jest.resetModules this is loaded again, where no hook can be added any more.
const FUNCTIONS = Symbol.for('trop.jest');
globalThis[FUNCTIONS] ??= forFile(afterAll, () => expect.getState().testPath);

module.exports = globalThis[FUNCTIONS];
Object.assign(globalThis, module.exports);
