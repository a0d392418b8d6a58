"""A suite of quick server tests: each leases, serves one client, closes the connection first, and ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median
from types import TracebackType

from report import Report, Target, at_most, number
from workers import LANGUAGES, TROP, Answer, Scratch, Size, Worker, node_peer, python_peer

PROCESSES = 4
FEW, MANY = 15_000, 60_000

PORTS = (10_000, 29_999)
"""The default range of leases: three times as many numbers are asked for."""

EDGE = 100
"""What is taken for the beginning and the end, of all processes together."""

PEERS = {
    "portpicker": python_peer("portpicker"),
    "bind(0)": python_peer("bind(0)"),
    "get-port": node_peer("get-port"),
}


class Network:
    """A network namespace of its own, if that is permitted: connections that are closing stay in it."""

    def __init__(self) -> None:
        as_user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        up = "ip link set lo up && echo ready && exec cat"
        self.process = subprocess.Popen(
            ["unshare", *as_user, "--net", "sh", "-c", up],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.command: list[str] = []
        if self.process.stdout.readline() == "ready\n":
            enter = ["--preserve-credentials", "--user"] if as_user else []
            self.command = ["nsenter", f"--target={self.process.pid}", *enter, "--net"]
        else:
            print("churn: no network namespace is to be had, so it is that of the machine", file=sys.stderr)

    def __enter__(self) -> Network:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.process.communicate()


def churn(scratch: Scratch, size: Size, report: Report) -> None:
    """Leases of 4 processes, whose servers close first, as fast as they can."""
    few, many = (FEW, MANY) if size.crowds > 1 else (FEW // 10, MANY // 10)
    section = report.section(f"{PROCESSES} processes that lease, serve once and close, as fast as they can")

    def ask(name: str, command: Sequence[str], total: int, of_trop: bool = True) -> list[Answer]:
        start = time.perf_counter()
        answers = run(scratch, command, total, of_trop)
        seconds = time.perf_counter() - start
        failed = sum(answer.failed for answer in answers)
        if of_trop:
            target = Target("none", failed == 0)
            section.add(f"{name}: {total:,}, failures", failed, "", target, f"{number(seconds)} s")
            if failed:
                report.defects.append(f"{failed} of {total} leases or binds failed in the churn")
        else:
            section.add(f"{name}: {total:,}, failures", failed, "", None, f"{number(seconds)} s")
        return answers

    def growth(name: str, answers: Sequence[Answer], limit: float | None) -> None:
        share = EDGE // PROCESSES
        first = median([ns for answer in answers for ns in answer.ns[:share]])
        last = median([ns for answer in answers for ns in answer.ns[-share:]])
        target = None if limit is None else at_most(limit, last / first, "x")
        of = f"{number(last / 1000)} us beside {number(first / 1000)} us"
        section.add(f"{name}: the last {EDGE} beside the first", last / first, "x", target, of)

    for total, limit in [(few, 1.3), (many, 3.0)]:
        growth(f"Rust, {total:,}", ask("Rust", TROP, total), limit)
    growth(f"Python, {few:,}", ask("Python", LANGUAGES["Python"], few), None)
    for name, command in PEERS.items():
        growth(f"{name}, {few:,}", ask(name, command, few, of_trop=False), None)


def run(scratch: Scratch, command: Sequence[str], total: int, of_trop: bool) -> list[Answer]:
    """What each process got. All are ready before the first is asked."""
    where = (scratch.data_dir(), *PORTS) if of_trop else ()
    with Network() as network, ExitStack() as stack:
        crew = [Worker(scratch, [*network.command, *command], *where) for _ in range(PROCESSES)]
        for worker in crew:
            stack.enter_context(worker)
        for worker in crew:
            worker.send("churn", total // PROCESSES)
        return [worker.receive() for worker in crew]
