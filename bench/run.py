"""Measures trop beside the least that its calls can cost and beside what others do: `make bench`."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

import churn
import crowds
import plot
import programs
import speed
from report import Report
from workers import ROOT, TARGET, Scratch, Size

PARTS = {
    "languages": speed.languages,
    "owners": speed.owners,
    "growth": speed.growth,
    "in-the-way": speed.in_the_way,
    "pickers": speed.pickers,
    "command": programs.command,
    "imports": programs.imports,
    "sizes": programs.sizes,
    "crowds": crowds.crowds,
    "cold-start": crowds.cold_start,
    "churn": churn.churn,
}

FULL = Size(rounds=24, batch=200, crowds=3)
QUICK = Size(rounds=5, batch=100, crowds=1)

RESULTS = ROOT / "bench" / "results"
EXPLAINED = ROOT / "bench" / "README.md"
MARKS = ("<!-- results: written by make bench -->\n", "<!-- end of results -->\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute, to try it out")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only some of: {', '.join(PARTS)}")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(unknown)}")
    size = QUICK if given.quick else FULL
    report = Report(machine())
    started = time.monotonic()
    with Scratch() as scratch:
        os.chdir(scratch.project)
        for name in given.parts or PARTS:
            print(f"{time.monotonic() - started:4.0f} s  {name}", file=sys.stderr, flush=True)
            PARTS[name](scratch, size, report)
        os.chdir(ROOT)
    print(f"{time.monotonic() - started:4.0f} s  done", file=sys.stderr, flush=True)
    print("\n\n".join([report.where(), *(table.text() for table in report.tables()), report.verdict()]))
    if not given.quick and not given.parts:
        write(report)
    if report.defects:
        sys.exit(f"FAILED: {'; '.join(report.defects)}")


def write(report: Report) -> None:
    """What is committed: the data, the plots, and the tables of bench/README.md."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "bench.json").write_text(json.dumps(report.data(), indent=1) + "\n")
    (RESULTS / "growth.svg").write_text(plot.growth(report))
    (RESULTS / "crowd.svg").write_text(plot.crowd(report))
    before, _, rest = EXPLAINED.read_text().partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    told = [report.where(), report.verdict(), *(table.markdown() for table in report.tables())]
    tables = "\n\n".join(told)
    EXPLAINED.write_text(f"{before}{MARKS[0]}\n{tables}\n\n{MARKS[1]}{after}")


def machine() -> dict[str, str]:
    """Where and when, and with which versions."""
    cpu = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "commit": commit(),
        "CPU": cpu[1] if cpu else platform.machine(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "SQLite": sqlite_version(),
        "Rust": first_line("rustc", "--version").split()[1],
        "Python": platform.python_version(),
        "Node.js": first_line("node", "--version").removeprefix("v"),
        "Go": first_line("go", "env", "GOVERSION").removeprefix("go"),
    }


def commit() -> str:
    """What is measured, and whether anything but earlier results differs from it."""
    git = ["git", "-C", str(ROOT)]
    try:
        head = first_line(*git, "rev-parse", "--short", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    results = [f":!{path.relative_to(ROOT)}" for path in (RESULTS, EXPLAINED)]
    is_clean = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", ".", *results]).returncode == 0
    return head if is_clean else f"{head} with changes"


def sqlite_version() -> str:
    """The one inside trop, asked of it in another process."""
    ask = (
        "import ctypes, sys\n"
        "version = ctypes.CDLL(sys.argv[1]).trop_sqlite_version\n"
        "version.restype = ctypes.c_char_p\n"
        "print(version().decode())"
    )
    return first_line(sys.executable, "-c", ask, str(TARGET / "release" / "libtrop.so"))


def first_line(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]


if __name__ == "__main__":
    main()
