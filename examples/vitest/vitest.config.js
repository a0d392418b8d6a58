export default {
  test: {
    setupFiles: ['trop/vitest'],
  },
};
