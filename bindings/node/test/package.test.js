'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const { createRequire } = require('node:module');
const path = require('node:path');
const { describe, it } = require('node:test');
const vm = require('node:vm');
const trop = require('trop');
const { ROOT, scratch, run } = require('./support');

const CALLS = [
  'reserve',
  'reserveGroup',
  'release',
  'releasePort',
  'lease',
  'leaseMany',
  'port',
  'ports',
  'leases',
  'ownLeases',
  'explain',
  'find',
  'findPort',
  'list',
  'projects',
  'prune',
  'expire',
  'autoclean',
  'migrate',
  'scan',
  'validateDatabase',
].flatMap((name) => [name, `${name}Async`]);
const NAMES = [...CALLS, 'validateConfig', 'validateConfigAsync', 'Registry', 'TropError'];

describe('the package', () => {
  it('is the same as CommonJS and as an ES module', async () => {
    const module = await import('trop');
    assert.equal(module.default, trop);
    assert.deepEqual(Object.keys(trop), NAMES);
    assert.deepEqual(Object.keys(module).sort(), [...NAMES, 'default'].sort());
    for (const name of NAMES) assert.equal(module[name], trop[name]);
  });

  it('has the calls that its types declare, as functions and as methods', (t) => {
    const types = fs.readFileSync(path.join(ROOT, 'index.d.ts'), 'utf8');
    const declared = (text, pattern) => Array.from(text.matchAll(pattern), ([, name]) => name).sort();
    const methods = (name) =>
      declared(
        new RegExp(`^export (?:class|interface) ${name} {$.*?^}$`, 'ms').exec(types)[0],
        /^  (\w+)\(.*;$/gm,
      );
    const names = ({ prototype }, ...others) =>
      Object.getOwnPropertyNames(prototype).filter((name) => !others.includes(name)).sort();

    assert.deepEqual(declared(types, /^export (?:function|class) (\w+)/gm), [...NAMES].sort());
    assert.deepEqual(names(trop.Registry, 'dataDir', 'closed'), [...CALLS, 'constructor', 'close'].sort());
    assert.deepEqual(methods('Registry'), names(trop.Registry, 'dataDir', 'closed'));
    const lease = new trop.Registry({ dataDir: path.join(scratch(t), 'data') }).lease();
    assert.deepEqual(methods('Lease'), names(lease.constructor, 'constructor', 'closed'));
    for (const name of CALLS) assert.equal(trop[name].name, name);
  });

  for (const [kind, options] of [
    ['the packed file', []],
    ['a link to the folder', ['--install-links=false']],
    ['a copy of the folder', ['--install-links=true']],
  ]) {
    it(`works elsewhere after the installation of ${kind}`, async (t) => {
      const directory = scratch(t);
      const npm = (...args) =>
        run('npm', [...args, '--ignore-scripts', '--offline', '--loglevel=error'], { cwd: directory });
      fs.writeFileSync(path.join(directory, 'package.json'), '{ "private": true }');
      let source = ROOT;
      if (options.length === 0) {
        const [{ filename, files }] = JSON.parse(await npm('pack', '--json', ROOT));
        source = path.join(directory, filename);
        assert.deepEqual(
          files.map((file) => file.path).sort(),
          [
            'LICENSE-APACHE',
            'LICENSE-MIT',
            'README.md',
            'index.d.mts',
            'index.d.ts',
            'index.js',
            'index.mjs',
            'jest/global-setup.js',
            'jest/global-teardown.js',
            'jest/index.d.ts',
            'jest/index.js',
            'package.json',
            'runner.d.ts',
            'runner.js',
            'vitest/global-setup.mjs',
            'vitest/index.d.mts',
            'vitest/index.mjs',
            `trop.${process.platform}-${process.arch}.node`,
          ].sort(),
        );
      }
      await npm('install', '--no-audit', '--no-fund', ...options, source);
      const env = { TROP_DATA_DIR: path.join(directory, 'data') };
      const script = "const port = trop.reserve({ tag: 'web' }).port; console.log(port, trop.list()[0].path)";
      const common = await run(process.execPath, ['-e', `const trop = require('trop'); ${script}`], {
        cwd: directory,
        env,
      });
      const module = await run(
        process.execPath,
        [
          '--input-type=module',
          '-e',
          `import trop, { reserve } from 'trop'; reserve({ tag: 'web' }); ${script}`,
        ],
        { cwd: directory, env },
      );
      assert.equal(common, module);
      assert.match(common, /^\d+ /);
      assert.equal(common.split(' ')[1], directory);
    });
  }

  it('says what is missing where there is no addon', (t) => {
    const directory = scratch(t);
    fs.copyFileSync(path.join(ROOT, 'index.js'), path.join(directory, 'index.js'));
    assert.throws(
      () => require(directory),
      (error) => {
        assert.equal(error.code, 'TROP_UNSUPPORTED');
        assert.equal(error.number, -13);
        assert.ok(error.message.includes(`${process.platform}-${process.arch}`), error.message);
        assert.equal(error.cause.code, 'MODULE_NOT_FOUND');
        return true;
      },
    );
  });
});

describe('in a realm of its own, as Jest gives to each file', () => {
  /** The package, loaded into a new context with an environment of its own. */
  function load(context) {
    const file = path.join(ROOT, 'index.js');
    const module = { exports: {} };
    const wrapped = `(function (module, require, process) { ${fs.readFileSync(file, 'utf8')} })`;
    const { platform, arch, version } = process;
    vm.runInContext(wrapped, context)(module, createRequire(file), {
      platform,
      arch,
      version,
      env: context.env,
    });
    return module.exports;
  }

  it('makes values and errors of that realm and follows its environment', async (t) => {
    const dataDir = path.join(scratch(t), 'data');
    const context = vm.createContext({ env: { TROP_DATA_DIR: dataDir } });
    context.trop = load(context);
    const inside = (script) => vm.runInContext(script, context);

    inside("reserved = trop.reserve({ path: '/w/realm' })");
    assert.ok(inside('reserved instanceof Object && reserved.createdAt instanceof Date'));
    assert.ok(inside('trop.list() instanceof Array && trop.list()[0] instanceof Object'));
    assert.ok(inside('trop.listAsync() instanceof Promise'));
    assert.deepEqual(new trop.Registry({ dataDir }).list().map((row) => row.path), ['/w/realm']);

    inside('try { trop.reserve({ port: 0 }) } catch (caught) { error = caught }');
    assert.ok(inside('error instanceof Error && error instanceof trop.TropError'));
    assert.ok(!(context.error instanceof trop.TropError));
    assert.equal(context.error.code, 'TROP_INVALID_ARGUMENT');

    const disposable = inside('typeof Symbol.dispose');
    assert.equal(
      inside('typeof trop.Registry.prototype[Symbol.dispose]') === 'function',
      disposable === 'symbol',
    );
    assert.ok(inside("!('undefined' in trop.Registry.prototype)"));
  });
});
