from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "command",
    [("mypy",), ("mypy.stubtest", "trop")],
    ids=["a user's program passes the type checker", "the stubs are what the module has"],
)
def test_types(command: tuple[str, ...]) -> None:
    arguments = [sys.executable, "-m", *command]
    checked = subprocess.run(arguments, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert checked.returncode == 0, checked.stdout + checked.stderr
