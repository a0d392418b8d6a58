"""Users that the password file does not know, as in containers, and the command as it is installed.

It is linked statically where that is possible, and the C library looks such users up with libraries that a
static program cannot load: it ended by a signal then.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import agents

UNKNOWN = 61234

# Listens on a port that it prints, as that user, until its input ends.
LISTENER = f"""
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
os.setgid({UNKNOWN})
os.setuid({UNKNOWN})
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def command() -> Iterator[Path]:
    """The command, where every user can run it."""
    if os.geteuid() != 0:
        pytest.skip("only root becomes another user")
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(shutil.copy(agents.CLI, directory))


def test_the_registry_of_an_unknown_user_is_found(command: Path) -> None:
    """It is only looked at where it would be. Trap 130 (no home directory)."""
    show = [str(command), "show-data-dir"]
    for env in ({}, {"HOME": "/nonexistent"}):
        shown = subprocess.run(
            show, env=env, user=UNKNOWN, group=UNKNOWN, extra_groups=[], capture_output=True, text=True
        )
        assert (shown.returncode, shown.stdout) == (0, f"/tmp/trop-{UNKNOWN}\n"), shown
        assert shown.stderr.startswith(f"Warning: the data directory is '/tmp/trop-{UNKNOWN}'"), shown


def test_a_listener_of_an_unknown_user_is_shown(command: Path, env: dict[str, str]) -> None:
    listener = subprocess.Popen(
        [sys.executable, "-c", LISTENER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert listener.stdout is not None
    port = listener.stdout.readline().strip()
    shown = subprocess.run(
        [command, "port-info", port, "--include-occupancy"], env=env, capture_output=True, text=True
    )
    listener.communicate("")
    assert (shown.returncode, shown.stderr) == (0, ""), shown
    assert f"Process ID: {listener.pid}\n" in shown.stdout
