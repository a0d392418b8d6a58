import trop = require('trop');
import { TropError, type Reserved } from 'trop';

const reserved: Reserved = trop.reserve({ path: 'a', tag: 'web', port: 5010, min: 5000, max: 5100 });
const port: number = reserved.port;
const at: Date = reserved.createdAt;
reserved.refusal satisfies 'outside_range' | 'reserved' | 'excluded' | 'occupied' | null;

for (const { path, tag } of trop.list()) trop.reserve({ path, tag, allowUnrelatedPath: false });
const released: number = trop.release({ untaggedOnly: true });

try {
  using registry = new trop.Registry({ dataDir: 'data', ports: [20000, 29999], excluded: [20001, '20005..20009'] });
  const closed: boolean = registry.closed;
} catch (error) {
  if (error instanceof TropError && error.code === 'TROP_IO') error.errno satisfies number | undefined;
}

// @ts-expect-error: a port is a number
trop.reserve({ port: '5010' });
// @ts-expect-error: no such option
trop.reserve({ tga: 'web' });
// @ts-expect-error: null would release everything
trop.release({ tag: null });
// @ts-expect-error: a range has two ends
new trop.Registry({ ports: [20000] });
// @ts-expect-error: no such code
((error: trop.TropError) => error.code === 'TROP_EXHAUSTET');
