export * from './index.js';
import * as trop from './index.js';
export default trop;
