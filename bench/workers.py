"""What is measured: workers that answer lines (PROTOCOL.md), programs that are run as a whole, and where."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "target"
PEERS = TARGET / "peers"


def quiet_ports() -> tuple[int, int]:
    """Below those that the kernel gives to outgoing connections, and above those that people configure."""
    kernel = Path("/proc/sys/net/ipv4/ip_local_port_range")
    below = int(kernel.read_text().split()[0]) if kernel.exists() else 0
    # A kernel may have been told to use nearly all.
    return (10_000, below - 1) if below > 20_000 else (10_000, 32_767)


QUIET_PORTS = quiet_ports()

RUST = str(TARGET / "release" / "trop-bench")
TROP = [RUST, "trop"]
FLOOR = [RUST, "floor"]
GAP = [RUST, "gap"]

# trop's workers.
LANGUAGES = {
    "Rust": TROP,
    "C": [str(TARGET / "bench" / "c-worker")],
    "Python": [sys.executable, str(ROOT / "bench" / "python" / "worker.py")],
    "Node": ["node", str(ROOT / "bench" / "node" / "worker.js")],
    "Go": [str(TARGET / "bench" / "go-worker")],
}

# Each ends with its input, like a worker, and has this many open registries with a lease each.
OWNERS = [sys.executable, str(ROOT / "bench" / "python" / "owners.py")]


def python_peer(package: str) -> list[str]:
    return [sys.executable, str(ROOT / "bench" / "python" / "peer.py"), package, str(PEERS / "python")]


def node_peer(package: str) -> list[str]:
    return ["node", str(ROOT / "bench" / "node" / "peer.mjs"), package, str(PEERS / "node")]


@dataclass
class Size:
    """How much is measured: rounds of batches of calls, and how often each crowd."""

    rounds: int
    batch: int
    crowds: int


class Answer(NamedTuple):
    """What some calls took, in nanoseconds, and the ports that came out."""

    ns: list[int]
    ports: list[int]
    failed: int


class Measurable(Protocol):
    """Whatever does an operation some times and tells what each took."""

    def ask(self, operation: str, count: int) -> Answer: ...


class Scratch:
    """A folder with everything a run writes: on the disk that the checkout is on, not in memory."""

    def __init__(self, parent: Path = TARGET / "bench") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="run-", dir=parent))
        (self.folder / "home").mkdir()
        # Where everything runs: as users do, in a git checkout, which new reservations take their names from.
        self.project = self.folder / "project"
        for part in ("objects", "refs"):
            (self.project / ".git" / part).mkdir(parents=True)
        (self.project / ".git" / "HEAD").write_text("ref: refs/heads/main\n")

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder)

    def missing(self) -> Path:
        """A data directory that does not exist yet."""
        return Path(tempfile.mkdtemp(prefix="data-", dir=self.folder)) / "trop"

    def data_dir(self) -> Path:
        data_dir = self.missing()
        data_dir.mkdir(mode=0o700)
        return data_dir

    def environment(self) -> dict[str, str]:
        """The variables of this process but those that would configure what is measured."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("TROP_", "PORTSERVER"))
        }
        return kept | {"HOME": str(self.folder / "home")}


class Worker:
    """One worker process; a context manager that ends it."""

    def __init__(
        self, scratch: Scratch, command: Sequence[str], *arguments: object, stderr: int | None = None
    ) -> None:
        self.command = [*command, *map(str, arguments)]
        self.process = subprocess.Popen(
            self.command,
            cwd=scratch.project,
            env=scratch.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )

    def send(self, operation: str, count: int) -> None:
        """Asks without waiting for the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{operation} {count}\n")
        self.process.stdin.flush()

    def receive(self) -> Answer:
        return Answer(**json.loads(self.receive_line()))

    def ask(self, operation: str, count: int) -> Answer:
        self.send(operation, count)
        return self.receive()

    def receive_line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"status {self.process.wait(10)}: {' '.join(self.command)}")
        return line

    def await_ready(self) -> None:
        assert self.receive_line() == "ready\n"

    def kill(self) -> None:
        """Ends it as `kill -9` does; it is gone afterwards."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Worker:
        self.await_ready()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


class Program:
    """A program that is run anew for each call; `operations` have the command lines of the calls to come."""

    def __init__(self, scratch: Scratch, operations: Mapping[str, Iterator[list[str]]]) -> None:
        self.environment = scratch.environment()
        self.operations = operations

    def ask(self, operation: str, count: int) -> Answer:
        commands = self.operations[operation]
        return Answer([self.run(next(commands)) for _ in range(count)], [], 0)

    def run(self, command: list[str]) -> int:
        """The time from before it is started to after it has ended."""
        program = shutil.which(command[0])
        assert program, command
        quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
        start = time.perf_counter_ns()
        pid = os.posix_spawn(program, command, self.environment, file_actions=quiet)
        _, status, _ = os.wait4(pid, 0)
        elapsed = time.perf_counter_ns() - start
        if status != 0:
            raise RuntimeError(f"it failed: {' '.join(command)}")
        return elapsed
