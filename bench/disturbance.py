"""How often a server is refused a port of its own because somebody looks whether it is free.

    .venv/bin/python bench/disturbance.py [BINDS]

Four processes lease as fast as they can, 100 ports each, and give them back, while a server that uses no
trop binds and listens on random ports of the same range. A port that a process has just been given is no
port of its own, so these failures are counted apart. Then the same beside a process that asks `explain`
about every port. No part of `make bench`: what it counts are events of a few microseconds.
"""

from __future__ import annotations

import errno
import multiprocessing
import random
import socket
import sys
import tempfile
from multiprocessing.synchronize import Event

MIN, MAX = 20000, 20999


def lease(data_dir: str, stop: Event) -> None:
    import trop

    registry = trop.Registry(data_dir, ports=(MIN, MAX))
    while not stop.is_set():
        leases = [registry.lease() for _ in range(100)]
        for held in leases:
            held.close()


def explain(data_dir: str, stop: Event) -> None:
    import trop

    registry = trop.Registry(data_dir, ports=(MIN, MAX))
    while not stop.is_set():
        for port in range(MIN, MAX + 1):
            if stop.is_set():
                return
            registry.explain(port)


def serve(data_dir: str, binds: int) -> tuple[int, int]:
    """How many binds were refused, of ports nobody has been given and of others."""
    import trop

    registry = trop.Registry(data_dir, ports=(MIN, MAX))
    own = given = 0
    for _ in range(binds):
        port = random.randint(MIN, MAX)
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                server.bind(("127.0.0.1", port))
                server.listen()
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                if any(lease.port == port for lease in registry.leases()):
                    given += 1
                else:
                    own += 1
    return own, given


def main() -> None:
    binds = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    context = multiprocessing.get_context("spawn")
    for name, work, count in [("lease", lease, 4), ("explain", explain, 1)]:
        with tempfile.TemporaryDirectory() as data_dir:
            stop = context.Event()
            workers = [context.Process(target=work, args=(data_dir, stop)) for _ in range(count)]
            for worker in workers:
                worker.start()
            own, given = serve(data_dir, binds)
            stop.set()
            for worker in workers:
                worker.join()
        print(f"{name}: of {binds} binds {own} were refused, and {given} of ports just given")


if __name__ == "__main__":
    main()
