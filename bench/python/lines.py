"""The lines that the workers in Python read and answer: see bench/PROTOCOL.md."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable, Sequence
from operator import index
from typing import Any, NamedTuple


class Batch(NamedTuple):
    """The times of some calls in nanoseconds, and what came out; None if the call failed."""

    times: list[int]
    results: list[Any]
    failed: int


def timed(calls: Sequence[Callable[[], Any]]) -> Batch:
    """Makes the calls, one after the other. What comes out is kept until the last one is done."""
    clock = time.perf_counter_ns
    times, results, failed = [], [], 0
    for call in calls:
        start = clock()
        try:
            result = call()
            end = clock()
        except Exception as error:
            end = clock()
            result = None
            failed += 1
            print(error, file=sys.stderr)
        times.append(end - start)
        results.append(result)
    return Batch(times, results, failed)


def churned(count: int, take: Callable[[], Any], give_back: Callable[[Any], object]) -> Batch:
    """What a suite of quick server tests does. Only taking the port is timed."""
    clock = time.perf_counter_ns
    times, results, failed = [], [], 0
    for _ in range(count):
        start = clock()
        try:
            taken = take()
            times.append(clock() - start)
            serve_once(index(taken))
            give_back(taken)
            results.append(taken)
        except Exception as error:
            failed += 1
            print(error, file=sys.stderr)
    return Batch(times, results, failed)


def serve_once(port: int) -> None:
    """A server that answers one client and closes the connection first: TIME_WAIT is on its side."""
    with (
        socket.create_server(("127.0.0.1", port)) as server,
        socket.create_connection(("127.0.0.1", port)) as client,
    ):
        served, _ = server.accept()
        with served:
            served.sendall(b"served")
        while client.recv(100):
            pass


def serve(operations: Sequence[Callable[[int], Batch]]) -> None:
    """Answers each line by the operation with that name, until there are no more."""
    by_name = {operation.__name__: operation for operation in operations}
    print("ready", flush=True)
    for line in sys.stdin:
        name, count = line.split()
        times, results, failed = by_name[name](int(count))
        ports = [index(result) for result in results if result is not None and name != "release"]
        print(json.dumps({"ns": times, "ports": ports, "failed": failed}), flush=True)
