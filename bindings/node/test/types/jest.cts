import { tropLease, tropPorts } from 'trop/jest';

const port: number = tropPort();
const ports: number[] = tropPorts(3, { contiguous: true });
const session: number = tropSessionPort();
tropLease({ hold: true }).listen() satisfies number;

// @ts-expect-error: how many
tropPorts();
