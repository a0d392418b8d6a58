"""`make demo`, once everything is built."""

from __future__ import annotations

import os
import subprocess
import sys

from agents import ROOT
from registry_files import RANGE


def test_demo_runs_all_examples_together() -> None:
    """Every language is in the table, and no port in it twice."""
    command = [sys.executable, str(ROOT / "examples" / "demo.py")]
    done = subprocess.run(command, env={**os.environ, **RANGE}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    table = [line.split() for line in done.stdout.splitlines() if line.endswith(" ms")]
    assert {row[1] for row in table} == {"C", "Go", "Python", "Node.js", "shell"}
    ports = [row[2] for row in table]
    assert len(set(ports)) == len(ports)
    assert "no port was given twice" in done.stdout
