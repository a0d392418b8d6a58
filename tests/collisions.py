"""How often a port that was picked cannot be bound: trop's leases beside other ways to pick one.

`make collisions` installs the others and runs this. Processes, all at once and again and again, pick a port
each and bind it after the moment that a server takes to start; all keep theirs until the last one has tried.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, NamedTuple

# The longest time between picking and binding, in seconds.
START_UP = 0.02

Picked = AbstractContextManager[int]


class Count(NamedTuple):
    """What became of some picks."""

    bound: int
    failed: int
    seconds: float
    """Spent on picking."""


def leases(_: Path) -> Callable[[], Picked]:
    import trop

    @contextmanager
    def pick() -> Iterator[int]:
        with trop.lease() as lease:
            yield lease.port

    return pick


def kernel(_: Path) -> Callable[[], Picked]:
    def pick() -> int:
        with socket.socket() as picked:
            picked.bind(("127.0.0.1", 0))
            port: int = picked.getsockname()[1]
            return port

    return forgotten(pick)


def portpicker(peers: Path) -> Callable[[], Picked]:
    return forgotten(module(peers, "portpicker").pick_unused_port)


def port_for(peers: Path) -> Callable[[], Picked]:
    return forgotten(module(peers, "port_for").select_random)


def get_port(peers: Path) -> Callable[[], Picked]:
    """One Node.js for each process, as the workers of its test runners are; it answers a line with a port."""
    program = (
        "import getPort, { portNumbers } from 'get-port';\n"
        "for await (const _ of process.stdin)\n"
        "    console.log(await getPort({ port: portNumbers(10000, 12000) }));\n"
    )
    node = subprocess.Popen(
        ["node", "--input-type=module", "--eval", program],
        cwd=peers / "node",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def pick() -> int:
        assert node.stdin is not None
        assert node.stdout is not None
        # It ends with its input, when this process ends.
        node.stdin.write("\n")
        node.stdin.flush()
        return int(node.stdout.readline())

    return forgotten(pick)


PICKERS = {
    "trop, leases": leases,
    "bind(0), then close": kernel,
    "portpicker (PyPI)": portpicker,
    "port-for (PyPI)": port_for,
    "get-port with a range (npm)": get_port,
}


def module(peers: Path, name: str) -> Any:
    sys.path.insert(0, str(peers / "python"))
    return importlib.import_module(name)


def forgotten(pick: Callable[[], int]) -> Callable[[], Picked]:
    """Nobody remembers who was given a port."""

    @contextmanager
    def picked() -> Iterator[int]:
        yield pick()

    return picked


def work(picker: str, peers: Path, rounds: int, seed: int, barrier: Barrier, results: Any) -> None:
    try:
        pick = PICKERS[picker](peers)
        chance = random.Random(seed)
        bound, seconds = 0, 0.0
        for _ in range(rounds):
            barrier.wait()
            started = time.perf_counter()
            with pick() as port, socket.socket() as server:
                seconds += time.perf_counter() - started
                time.sleep(chance.uniform(0, START_UP))
                try:
                    server.bind(("127.0.0.1", port))
                    server.listen()
                    bound += 1
                except OSError:
                    pass
                barrier.wait()
        results.put(Count(bound, rounds - bound, seconds))
    except BaseException:
        # Nobody waits for this process.
        barrier.abort()
        raise


def measure(picker: str, peers: Path, processes: int, rounds: int) -> Count:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.SimpleQueue()
    workers = [
        context.Process(target=work, args=(picker, peers, rounds, seed, barrier, results))
        for seed in range(processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        sys.exit(f"{picker}: a process failed")
    counts = [results.get() for _ in workers]
    return Count(*(sum(column) for column in zip(*counts, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peers", type=Path, help="the folder the others are installed in")
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=320)
    given = parser.parse_args()
    print(f"{given.processes} processes, {given.rounds} times at once\n")
    print(f"{'PICKED BY':<30}{'PICKS':>8}{'FAILED BINDS':>15}{'EACH PICK':>13}")
    failed = {}
    with tempfile.TemporaryDirectory(prefix="trop-collisions-") as data_dir:
        os.environ["TROP_DATA_DIR"] = data_dir
        for picker in PICKERS:
            count = measure(picker, given.peers.resolve(), given.processes, given.rounds)
            failed[picker] = count.failed
            picks = count.bound + count.failed
            print(
                f"{picker:<30}{picks:>8}{count.failed:>15}{count.seconds / picks * 1000:>10.2f} ms",
                flush=True,
            )
    if failed["trop, leases"]:
        sys.exit("FAILED: a leased port could not be bound")


if __name__ == "__main__":
    main()
