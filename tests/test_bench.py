"""The workers of the benchmark do what bench/PROTOCOL.md says, so that what is measured is what is meant."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from xml.etree import ElementTree

import pytest

import agents
import registry_files

sys.path.append(str(agents.ROOT / "bench"))

import plot
from interleave import Spread
from report import Crowd, Report
from workers import FLOOR, GAP, LANGUAGES, OWNERS, TROP, Scratch, Worker

LOWEST, HIGHEST = registry_files.LOWEST, registry_files.HIGHEST


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Scratch]:
    with Scratch(tmp_path) as made:
        yield made


def ask(worker: Worker, operation: str, count: int) -> list[int]:
    """The ports. Every call took some time, and none failed."""
    answer = worker.ask(operation, count)
    assert len(answer.ns) == count
    assert all(ns > 0 for ns in answer.ns)
    assert answer.failed == 0
    return answer.ports


@pytest.mark.parametrize("language", LANGUAGES)
def test_language(scratch: Scratch, language: str) -> None:
    data_dir = scratch.data_dir()

    def tags() -> list[str]:
        rows = registry_files.rows(data_dir)
        assert all(row[0] == str(scratch.project.resolve()) for row in rows)
        return sorted(str(row[1]) for row in rows)

    with Worker(scratch, LANGUAGES[language], data_dir, LOWEST, HIGHEST) as worker:
        pid = worker.process.pid
        new = ask(worker, "new", 3)
        assert len(set(new)) == 3
        assert ask(worker, "hit", 4) == [new[-1]] * 4
        assert ask(worker, "touch", 2) == new[:2]
        assert tags() == [f"{pid}-{number}" for number in (1, 2, 3)]
        filled = ask(worker, "fill", 2)
        assert ask(worker, "release", 4) == []
        assert tags() == [f"{pid}-5"]
        assert ask(worker, "open", 2) == [filled[-1]] * 2
        ask(worker, "release", 1)
        # There is no last tag any more.
        [hit] = ask(worker, "hit", 1)
        assert tags() == [f"{pid}-6"]
        leased = ask(worker, "lease", 3)
        assert len({hit, *leased}) == 4
        assert ask(worker, "close", 2) == []
        # What was closed rests.
        assert not {*ask(worker, "lease", 2)} & {hit, *leased}
    assert worker.process.returncode == 0


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("operation", ["release", "touch", "close"])
def test_more_than_there_is(
    scratch: Scratch, language: str, operation: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with Worker(scratch, LANGUAGES[language], scratch.data_dir(), LOWEST, HIGHEST) as worker:
        worker.send(operation, 1)
        with pytest.raises(RuntimeError, match="status 1"):
            worker.receive()
    assert capfd.readouterr().err


@pytest.mark.parametrize("language", ["Rust", "Python"])
def test_churn(scratch: Scratch, language: str) -> None:
    """Each number is served on and given back; none comes again while there is another."""
    ports = registry_files.free_ports(4)
    with Worker(scratch, LANGUAGES[language], scratch.data_dir(), ports[0], ports[-1]) as worker:
        assert ask(worker, "churn", 4) == list(ports)


@pytest.mark.parametrize("language", LANGUAGES)
def test_failed_calls(scratch: Scratch, language: str) -> None:
    """Two ports for three calls."""
    ports = registry_files.free_ports(2)
    with Worker(scratch, LANGUAGES[language], scratch.data_dir(), ports[0], ports[-1]) as worker:
        for operation, undo in [("new", "release"), ("lease", "close")]:
            answer = worker.ask(operation, 3)
            assert len(answer.ns) == 3
            assert answer.failed == 1
            assert sorted(answer.ports) == list(ports)
            ask(worker, undo, 2)


@pytest.mark.parametrize(("engine", "operations"), [(FLOOR, ["new", "bare"]), (GAP, ["new", "lease"])])
def test_engine(scratch: Scratch, engine: list[str], operations: list[str]) -> None:
    """Two processes that share a directory never get the same port."""
    data_dir = scratch.data_dir()
    with ExitStack() as stack:
        crew = [stack.enter_context(Worker(scratch, engine, data_dir, LOWEST, HIGHEST)) for _ in range(2)]
        ports = [port for operation in operations for worker in crew for port in ask(worker, operation, 5)]
        assert len(set(ports)) == 20
        if engine == FLOOR:
            last = ports[-1]
            assert ask(crew[1], "lookup", 2) == [last] * 2
            assert ask(crew[1], "open", 2) == [last] * 2
            assert ask(crew[1], "release", 10) == []


def test_owners(scratch: Scratch) -> None:
    """Each has one lease, which ends with the process."""
    data_dir = scratch.data_dir()
    ports = registry_files.free_ports(4)
    where = (data_dir, ports[0], ports[-1])
    with Worker(scratch, OWNERS, 3, *where) as owners, Worker(scratch, TROP, *where) as worker:
        assert ask(worker, "lease", 1) == [ports[-1]]
        assert worker.ask("lease", 1).failed == 1
        owners.kill()
        assert sorted(ask(worker, "lease", 3)) == list(ports[:3])


def test_run() -> None:
    """One part that takes a second. Whether its target is met depends on the machine."""
    command = [sys.executable, str(agents.ROOT / "bench" / "run.py"), "--quick", "cold-start"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.search(r"^  each has a lease +at most 3x +\d", done.stdout, re.MULTILINE), done.stdout


def test_plots() -> None:
    """Well-formed, with what was measured."""
    report = Report({})
    report.growth = [{"taken": taken, "trop": 20.5, "floor": 17.25} for taken in (10, 40_000)]
    report.crowds = [
        Crowd(engine, processes, 1, once(1000), 1, 2, once(worst), 0, 0)
        for engine, worst in [("trop", 80.5), ("gap query", 5000.0)]
        for processes in (2, 64)
    ]
    for drawn, values in [(plot.growth(report), ["20.5", "17.2"]), (plot.crowd(report), ["80.5", "5,000"])]:
        shown = [element.text for element in ElementTree.fromstring(drawn).iter()]
        assert all(shown.count(value) >= 2 for value in values)


def once(value: float) -> Spread:
    return Spread(value, value, value)
