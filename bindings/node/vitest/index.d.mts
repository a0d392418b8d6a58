export * from '../runner.js';
