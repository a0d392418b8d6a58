'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { it } = require('node:test');
const { ROOT, bothWays, scratch, run, lock, failure } = require('./support');

const CLI = path.join(ROOT, '..', '..', 'target', 'release', 'trop');

const SERVICES = `
  services:
    web: {env: WEB_PORT}
    api-v2: {offset: 1}
    __proto__: {offset: 2}
    '10': {offset: 4, env: TEN}
`;

bothWays('groups', (call, open) => {
  /** A project with a group, and a registry that finds it. */
  async function project(t, { file = 'trop.yaml', services = SERVICES, ...options } = {}) {
    const directory = scratch(t);
    const root = path.join(directory, 'project');
    fs.mkdirSync(path.join(root, 'deep'), { recursive: true });
    const write = (services, project = 'shop') =>
      fs.writeFileSync(
        path.join(root, file),
        `project: ${project}\nports: {min: 28900, max: 28949}\nreservations:${services}`,
      );
    write(services);
    const dataDir = path.join(directory, 'data');
    const registry = await open({
      dataDir,
      startDir: path.join(root, 'deep'),
      skipOccupancyCheck: true,
      variables: false,
      ...options,
    });
    return { registry, dataDir, root, file: path.join(root, file), write };
  }

  const BY_TAG = { web: 28900, 'api-v2': 28901, ['__proto__']: 28902, 10: 28904 };

  it('come as a mapping without a prototype, whatever the tags', async (t) => {
    const { registry, root } = await project(t);
    const ports = await call(registry, 'reserveGroup');
    assert.equal(Object.getPrototypeOf(ports), null);
    assert.deepEqual({ ...ports }, BY_TAG);
    assert.equal(ports.__proto__, 28902);
    assert.equal(ports.toString, undefined);
    assert.deepEqual({ ...(await call(registry, 'reserveGroup', { by: 'tag' })) }, BY_TAG);
    assert.deepEqual(
      { ...(await call(registry, 'reserveGroup', { by: 'variable' })) },
      { WEB_PORT: 28900, API_V2: 28901, __PROTO__: 28902, TEN: 28904 },
    );
    const rows = await call(registry, 'list');
    const stored = rows.map(({ port, path, tag, project }) => [path, project, tag, port]);
    const expected = Object.entries(BY_TAG).map(([tag, port]) => [root, 'shop', tag, port]);
    assert.deepEqual(stored.sort(), expected.sort());
  });

  it(
    'are the same as those of the command',
    { skip: !fs.existsSync(CLI) && 'the command is not built' },
    async (t) => {
      const { registry, dataDir, root } = await project(t);
      const ports = await call(registry, 'reserveGroup');
      // The range of the files, which that of the suite would weigh more than.
      const env = { TROP_PORT_MIN: '28900', TROP_PORT_MAX: '28949' };
      const command = (...args) => run(CLI, ['--data-dir', dataDir, ...args], { cwd: root, env });
      const printed = await command('reserve-group', 'trop.yaml', '--format', 'json');
      assert.deepEqual(Object.entries(JSON.parse(printed)), Object.entries(ports));
      assert.equal(await command('autoreserve', '--format', 'json'), printed);
    },
  );

  it('are found upward, or are those of a file', async (t) => {
    const { registry, root } = await project(t);
    const other = path.join(root, 'other.yaml');
    fs.writeFileSync(other, 'ports: {min: 28950, max: 28959}\nreservations: {services: {only: {}}}\n');
    assert.equal((await call(registry, 'reserveGroup', { dryRun: true })).web, 28900);
    assert.deepEqual({ ...(await call(registry, 'reserveGroup', { file: other })) }, { only: 28950 });

    const nowhere = await open({ dataDir: registry.dataDir, discovery: false, variables: false });
    await assert.rejects(call(nowhere, 'reserveGroup'), failure('TROP_NOT_FOUND'));
    assert.deepEqual({ ...(await call(nowhere, 'reserveGroup', { file: other })) }, { only: 28950 });
    const missing = path.join(root, 'missing.yaml');
    for (const file of [missing, root]) {
      await assert.rejects(
        call(registry, 'reserveGroup', { file }),
        failure('TROP_INVALID_ARGUMENT', 'file'),
      );
    }
    fs.writeFileSync(other, 'reservations: null\n');
    await assert.rejects(call(registry, 'reserveGroup', { file: other }), failure('TROP_NOT_FOUND'));
    fs.writeFileSync(other, 'reservations: {services: {"a b": {}}}\n');
    await assert.rejects(call(registry, 'reserveGroup', { file: other }), { code: 'TROP_CONFIG' });
  });

  it('store a task, and permit to change it and the project', async (t) => {
    const { registry, file, write } = await project(t, { services: '\n  services: {web: {}}\n' });
    const stored = async () => {
      const [{ project, task }] = await call(registry, 'list');
      return [project, task];
    };
    await call(registry, 'reserveGroup', { file, task: 'one' });
    assert.deepEqual(await stored(), ['shop', 'one']);
    write('\n  services: {web: {}}\n', 'store');
    for (const [options, argument] of [
      [{}, 'project'],
      [{ allowTaskChange: true, task: 'two' }, 'project'],
      [{ allowProjectChange: true, task: 'two' }, 'task'],
    ]) {
      const reserving = call(registry, 'reserveGroup', { file, ...options });
      await assert.rejects(reserving, failure('TROP_STICKY_FIELD', argument));
    }
    assert.deepEqual(await stored(), ['shop', 'one']);
    await call(registry, 'reserveGroup', { file, allowProjectChange: true });
    await call(registry, 'reserveGroup', { file, allowTaskChange: true, task: 'two' });
    assert.deepEqual(await stored(), ['store', 'two']);
    await assert.rejects(
      call(registry, 'reserveGroup', { file, task: ' ' }),
      failure('TROP_INVALID_ARGUMENT', 'task'),
    );
  });

  it('are replaced by force only', async (t) => {
    const { registry, file, write } = await project(t, { services: '\n  services: {web: {}}\n' });
    await call(registry, 'reserveGroup');
    write('\n  services: {api: {}, web: {offset: 5}}\n');
    const rows = await call(registry, 'list');
    await assert.rejects(call(registry, 'reserveGroup', { file }), failure('TROP_CONFLICT'));
    const forced = { file, force: true };
    const replaced = { api: 28900, web: 28905 };
    assert.deepEqual({ ...(await call(registry, 'reserveGroup', { ...forced, dryRun: true })) }, replaced);
    assert.deepEqual(await call(registry, 'list'), rows);
    assert.deepEqual({ ...(await call(registry, 'reserveGroup', forced)) }, replaced);
    assert.equal((await call(registry, 'list')).length, 2);
  });

  it('are guarded and rehearsed', async (t) => {
    const { registry } = await project(t);
    await assert.rejects(
      call(registry, 'reserveGroup', { allowUnrelatedPath: false }),
      failure('TROP_UNRELATED_PATH', 'path'),
    );
    assert.deepEqual({ ...(await call(registry, 'reserveGroup', { dryRun: true })) }, BY_TAG);
    assert.deepEqual(await call(registry, 'list'), []);
  });

  it('get all their ports or none', async (t) => {
    const services = '\n  services: {web: {}, api: {offset: 60}}\n';
    const { registry } = await project(t, { services });
    await assert.rejects(call(registry, 'reserveGroup'), failure('TROP_EXHAUSTED'));
    assert.deepEqual(await call(registry, 'list'), []);
  });

  it('wait for the lock', async (t) => {
    const { registry, dataDir } = await project(t, { busyTimeout: 0 });
    await call(registry, 'reserve');
    const locker = await lock(t, dataDir);
    await assert.rejects(call(registry, 'reserveGroup'), failure('TROP_BUSY'));
    assert.equal((await call(registry, 'reserveGroup', { dryRun: true })).web, BY_TAG.web + 1);
    locker.unlock();
  });
});
