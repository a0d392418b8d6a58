"""Many processes at once on one data directory."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median, quantiles

from interleave import Spread, quotients, spread
from report import Crowd, Report, Target, at_least, at_most, number
from workers import GAP, QUIET_PORTS, RUST, TROP, Answer, Scratch, Size, Worker

PROCESSES = (2, 8, 32, 64)
CALLS = 100
ENGINES = {"trop": TROP, "gap query": GAP}

STARTS = 64
"""Of the storm on a data directory that does not exist."""


@dataclass
class Run:
    """What became of one crowd."""

    seconds: float
    answers: list[Answer]

    def calls(self) -> list[int]:
        return [ns for answer in self.answers for ns in answer.ns]

    def throughput(self) -> float:
        """A second."""
        return len(self.calls()) / self.seconds

    def worst(self) -> float:
        """The longest wait in milliseconds."""
        return max(self.calls()) / 1e6

    def failed(self) -> int:
        return sum(answer.failed for answer in self.answers)

    def duplicates(self) -> int:
        """Nothing is given back before the end."""
        times = Counter(port for answer in self.answers for port in answer.ports)
        return sum(times.values()) - len(times)


def crowds(scratch: Scratch, size: Size, report: Report) -> None:
    """Leases of many processes, beside SQLite's own busy handler with a gap query."""
    runs: dict[int, dict[str, list[Run]]] = {
        processes: {engine: [] for engine in ENGINES} for processes in PROCESSES
    }
    for _ in range(size.crowds):
        for processes, of_engine in runs.items():
            for engine, some in of_engine.items():
                some.append(crowd(scratch, ENGINES[engine], processes))
    for processes, of_engine in runs.items():
        report.crowds += [summary(engine, processes, some) for engine, some in of_engine.items()]

    most = PROCESSES[-1]
    ours, theirs = runs[most].values()
    section = report.section(
        f"{most} processes, {CALLS} leases each, beside SQLite's busy handler and a gap query"
    )

    def compare(measure: Callable[[Run], float], unit: str) -> tuple[Spread, str]:
        own, others = [measure(run) for run in ours], [measure(run) for run in theirs]
        return quotients(own, others), f"{number(median(own))} {unit} beside {number(median(others))} {unit}"

    throughput, of = compare(Run.throughput, "a second")
    section.add("throughput", throughput, "x", at_least(5, throughput.median, "x"), of)
    worst, of = compare(Run.worst, "ms")
    section.add("worst wait", worst, "x", at_most(1 / 20, worst.median, "x"), of)
    every = [run for of_engine in runs.values() for run in of_engine["trop"]]
    failed, twice = sum(map(Run.failed, every)), sum(map(Run.duplicates, every))
    of = f"{sum(len(run.calls()) for run in every):,} leases in crowds of every size"
    section.add("failures", failed, "", Target("none", failed == 0), of)
    section.add("ports given twice", twice, "", Target("none", twice == 0), of)
    if failed or twice:
        report.defects.append(f"in crowds, {failed} leases failed and {twice} ports were given twice")


def crowd(scratch: Scratch, command: list[str], processes: int) -> Run:
    """All are ready before the first is asked, and all are asked before any answer is looked at."""
    data_dir = scratch.data_dir()
    # Failures are counted. Those of the others are expected.
    stderr = None if command == TROP else subprocess.DEVNULL
    with ExitStack() as stack:
        workers = [Worker(scratch, command, data_dir, *QUIET_PORTS, stderr=stderr) for _ in range(processes)]
        for worker in workers:
            stack.enter_context(worker)
        start = time.perf_counter()
        for worker in workers:
            worker.send("lease", CALLS)
        lines = [worker.receive_line() for worker in workers]
        return Run(time.perf_counter() - start, [Answer(**json.loads(line)) for line in lines])


def summary(engine: str, processes: int, runs: Sequence[Run]) -> Crowd:
    calls = [ns / 1e6 for run in runs for ns in run.calls()]
    return Crowd(
        engine,
        processes,
        len(calls),
        throughput=spread([run.throughput() for run in runs]),
        p50=median(calls),
        p99=quantiles(calls, n=100, method="inclusive")[98],
        worst=spread([run.worst() for run in runs]),
        failed=sum(map(Run.failed, runs)),
        duplicates=sum(map(Run.duplicates, runs)),
    )


def cold_start(scratch: Scratch, size: Size, report: Report) -> None:
    """Processes that open a directory that does not exist, and lease; beside as many starts."""
    storms, starts = [], []
    for _ in range(2 * size.crowds):
        storms.append(storm(scratch, report))
        starts.append(idle_starts(scratch))
    times = quotients(storms, starts)
    of = f"{number(median(storms) * 1000)} ms beside {number(median(starts) * 1000)} ms"
    section = report.section(f"{STARTS} processes at once on a data directory that does not exist yet")
    section.add("each has a lease", times, "x", at_most(3, times.median, "x"), of)


def storm(scratch: Scratch, report: Report) -> float:
    """Seconds until all have a lease; it lasts until everybody has one."""
    arguments = ["trop", str(scratch.missing()), *map(str, QUIET_PORTS)]
    start = time.perf_counter()
    processes = [Process(scratch, arguments, b"lease 1\n") for _ in range(STARTS)]
    lines = [(process.output.readline(), process.output.readline()) for process in processes]
    seconds = time.perf_counter() - start
    for process in processes:
        process.end()
    if any(ready != b"ready\n" for ready, _ in lines):
        report.defects.append(f"cold start: {lines}")
        return seconds
    answers = [Answer(**json.loads(answer)) for _, answer in lines]
    if any(answer.failed for answer in answers) or Run(seconds, answers).duplicates():
        report.defects.append("cold start: a lease failed or a port was given twice")
    return seconds


def idle_starts(scratch: Scratch) -> float:
    """Seconds until all have ended that were started without arguments, which does nothing."""
    start = time.perf_counter()
    processes = [Process(scratch, [], b"") for _ in range(STARTS)]
    for process in processes:
        process.output.read()
    seconds = time.perf_counter() - start
    for process in processes:
        process.end()
    return seconds


class Process:
    """The Rust worker, started with as little ado as possible; what it prints anywhere is its output."""

    def __init__(self, scratch: Scratch, arguments: Sequence[str], given: bytes) -> None:
        stdin, self.stdin = os.pipe()
        stdout, output = os.pipe()[::-1]
        os.write(self.stdin, given)
        actions = [(os.POSIX_SPAWN_DUP2, from_, to) for from_, to in [(stdin, 0), (stdout, 1), (stdout, 2)]]
        self.pid = os.posix_spawn(RUST, [RUST, *arguments], scratch.environment(), file_actions=actions)
        os.close(stdin)
        os.close(stdout)
        self.output = os.fdopen(output, "rb")

    def end(self) -> None:
        os.close(self.stdin)
        os.waitpid(self.pid, 0)
        self.output.close()
