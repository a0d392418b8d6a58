"""Every test has a data directory, a home and a working directory of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import trop

# The ports of this suite: each suite of the project has its own, see tests/README.md.
PORTS = (26000, 27999)


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's data directory for this test; not made yet."""
    directory = tmp_path / "data"
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TROP_DATA_DIR", str(directory))
    for name, port in zip(("PORT_MIN", "PORT_MAX"), PORTS, strict=True):
        monkeypatch.setenv(f"TROP_{name}", str(port))
        monkeypatch.setenv(f"TROP_LEASE_{name}", str(port))
    return directory


@pytest.fixture
def range_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of configuration files, whose range weighs less than the variables of this suite."""
    monkeypatch.delenv("TROP_PORT_MIN")
    monkeypatch.delenv("TROP_PORT_MAX")


@pytest.fixture
def registry(data_dir: Path) -> Iterator[trop.Registry]:
    with trop.Registry(data_dir, ports=PORTS) as opened:
        yield opened


@pytest.fixture
def sql(data_dir: Path) -> Callable[[str], str]:
    """Runs statements on the database, in another process; the rows of the last one, one a line."""

    def run(statements: str) -> str:
        program = (
            "import sqlite3, sys\n"
            "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
            "for statement in sys.argv[2].split(';'):\n"
            "    rows = db.execute(statement).fetchall()\n"
            "for row in rows: print(*row, sep='|')\n"
        )
        arguments = [sys.executable, "-c", program, str(data_dir / "trop.db"), statements]
        return subprocess.run(arguments, check=True, capture_output=True, text=True, timeout=30).stdout

    return run


@pytest.fixture
def write_lock(data_dir: Path) -> Callable[[], AbstractContextManager[Callable[[], None]]]:
    """Another process that holds the write lock while the context lasts, or until the given call."""

    @contextmanager
    def hold() -> Iterator[Callable[[], None]]:
        program = Path(__file__).parents[3] / "tests" / "lock_holder.py"
        arguments = [sys.executable, program, data_dir / "trop.db"]
        with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdin is not None
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"locked\n"
            yield holder.stdin.close
            holder.stdin.close()

    return hold
