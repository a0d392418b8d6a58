import trop from './index.js';

export const { reserve, release, list, reserveAsync, releaseAsync, listAsync, Registry, TropError } = trop;
export default trop;
