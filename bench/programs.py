"""Whole programs: the command, imports, and how large things are."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from interleave import Series, difference, interleave
from report import Report, at_most, number
from workers import PEERS, QUIET_PORTS, ROOT, TARGET, Program, Scratch, Size

COMMAND = TARGET / "release" / "trop"
PUBLISHED = PEERS / "cargo" / "bin" / "trop"

# In each round each is run so often.
RUNS = 4


def command(scratch: Scratch, size: Size, report: Report) -> None:
    """Our command beside the one of the Rust registry."""
    ours, published = (reserving(scratch, installed(scratch, program)) for program in (COMMAND, PUBLISHED))

    def both(operation: str, undo: str | None = None) -> tuple[Series, Series]:
        return (
            Series(f"command: {operation}", ours, operation, RUNS, undo),
            Series(f"trop-cli 0.2.0: {operation}", published, operation, RUNS, undo),
        )

    new, hit = both("new", "release"), both("hit")
    least = Series("SQLite alone: new", transacting(scratch), "new", RUNS, "release")
    interleave([[*new, least], hit], size.rounds)
    section = report.section("The command beside the published one, whole processes")
    section.ratio("reserve, new", *new, limit=0.6)
    section.ratio("reserve, hit", *hit, limit=0.6)
    section.ratio("a C program with the transaction and the probes of new alone", least, new[1])
    report.series += [*new, *hit, least]


def installed(scratch: Scratch, program: Path) -> Path:
    """A copy, as installations make one: pages of a file that a linker wrote are mapped less quickly."""
    return Path(shutil.copy(program, scratch.missing()))


def reserving(scratch: Scratch, program: Path) -> Program:
    """A command with a data directory of its own."""
    data_dir = scratch.data_dir()

    def run(command: str, tag: str, *options: object) -> list[str]:
        told = ["--quiet", "--data-dir", str(data_dir), command, "--tag", tag, *map(str, options)]
        return [str(program), *told]

    def numbered(command: str, *options: object) -> Iterator[list[str]]:
        return (run(command, f"new-{number}", *options) for number in itertools.count())

    ports = ("--min", QUIET_PORTS[0], "--max", QUIET_PORTS[1])
    return Program(
        scratch,
        {
            "new": numbered("reserve", *ports),
            "release": numbered("release"),
            "hit": itertools.repeat(run("reserve", "hit", *ports)),
        },
    )


def transacting(scratch: Scratch) -> Program:
    """The least that a whole program can cost, on a registry that trop has made."""
    data_dir = scratch.data_dir()
    make = [str(COMMAND), "--quiet", "--data-dir", str(data_dir), "init"]
    subprocess.run(make, env=scratch.environment(), check=True)
    least = installed(scratch, TARGET / "bench" / "least")

    def numbered(*options: str) -> Iterator[list[str]]:
        return (
            [str(least), str(data_dir / "trop.db"), str(number), *options]
            for number in itertools.count(QUIET_PORTS[0])
        )

    return Program(scratch, {"new": numbered(), "release": numbered("delete")})


def imports(scratch: Scratch, size: Size, report: Report) -> None:
    """What loading trop adds to starting an interpreter."""
    addon = ROOT / "bindings" / "node"
    starts = Program(
        scratch,
        {
            "python": itertools.repeat([sys.executable, "-c", ""]),
            "import": itertools.repeat([sys.executable, "-c", "import trop"]),
            "node": itertools.repeat(["node", "-e", ""]),
            "require": itertools.repeat(["node", "-e", f"require('{addon}')"]),
        },
    )
    empty_python = Series("empty start of Python", starts, "python", RUNS)
    import_trop = Series("start of Python with import trop", starts, "import", RUNS)
    empty_node = Series("empty start of Node", starts, "node", RUNS)
    require_trop = Series("start of Node with require('trop')", starts, "require", RUNS)
    groups = [[empty_python, import_trop], [empty_node, require_trop]]
    interleave(groups, size.rounds)
    section = report.section("Loading, beyond an empty start")
    for what, (empty, loaded), limit in zip(["import trop", "require('trop')"], groups, [10, 5], strict=True):
        extra = difference(loaded, empty).scaled(1 / 1000)
        of = f"{number(loaded.p50() / 1000)} ms beside {number(empty.p50() / 1000)} ms"
        section.add(what, extra, "ms", at_most(limit, extra.median, "ms"), of, [loaded, empty])
    report.series += [series for group in groups for series in group]


def sizes(scratch: Scratch, _: Size, report: Report) -> None:
    """Release builds, without their symbols."""
    [addon] = (ROOT / "bindings" / "node").glob("*.node")
    [module] = (ROOT / "bindings" / "python" / "python" / "trop").glob("*.so")
    files = {
        "libtrop.so": TARGET / "release" / "libtrop.so",
        "the Python module": module,
        "the Node addon": addon,
        "the command": COMMAND,
    }
    section = report.section("Sizes, stripped")
    for what, file in files.items():
        copy = scratch.folder / "stripped"
        shutil.copy(file, copy)
        subprocess.run(["strip", str(copy)], check=True)
        size = copy.stat().st_size
        target = at_most(3_000_000, size, "bytes") if what == "libtrop.so" else None
        section.add(what, size, "bytes", target, f"{number(file.stat().st_size)} as built")
