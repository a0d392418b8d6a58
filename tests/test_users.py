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
import registry_files

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


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """An empty data directory of an ordinary user."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        data = Path(directory) / "data"
        data.mkdir(0o700)
        os.chown(data, UNKNOWN, UNKNOWN)
        yield data


@pytest.mark.parametrize("may_open", [True, False])
def test_what_root_makes_in_a_users_directory_is_in_nobodys_way(
    command: Path, data_dir: Path, may_open: bool
) -> None:
    """The files belong to the user. Where root could not give one away, the user cannot open it.

    In both cases root's lease lasts as long as root's process, and no longer.
    """
    [port] = registry_files.free_ports(1)
    env = {"TROP_DATA_DIR": str(data_dir), "HOME": str(data_dir)}
    run = [str(command), "run", "--skip-occupancy-check", "--min", str(port), "--max", str(port), "--"]

    def asked_by_user() -> int:
        asked = subprocess.run(
            [*run, "true"],
            env=env,
            cwd="/",
            stderr=subprocess.DEVNULL,
            user=UNKNOWN,
            group=UNKNOWN,
            extra_groups=[],
        )
        return asked.returncode

    say = ["sh", "-c", "echo started; exec cat"]
    lease = subprocess.Popen([*run, *say], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert lease.stdin is not None
    assert lease.stdout is not None
    assert lease.stdout.readline() == b"started\n"
    with registry_files.connect(data_dir):
        made = {file.name: (file.stat().st_uid, file.stat().st_gid) for file in data_dir.iterdir()}
    [owner] = [name for name in made if name.startswith("owner-")]
    assert set(made.values()) == {(UNKNOWN, UNKNOWN)}, made
    if not may_open:
        os.chown(data_dir / owner, 0, 0)
    assert asked_by_user() == 125, "root's process is running"
    lease.kill()
    lease.wait()
    assert asked_by_user() == 0
    lease.stdin.close()
    lease.stdout.close()


def test_what_root_makes_in_a_home_directory_is_the_users(command: Path, data_dir: Path) -> None:
    """As with `sudo -E`: the registry that root creates there is the one that the user goes on with."""
    env = {"HOME": str(data_dir)}
    reserve = [str(command), "reserve", "--path", "/", "--allow-unrelated-path", "--skip-occupancy-check"]
    by_root = subprocess.run(reserve, env=env, capture_output=True, text=True)
    assert (by_root.returncode, by_root.stderr) == (0, ""), by_root
    made = data_dir / ".trop"
    assert {(file.stat().st_uid, file.stat().st_gid) for file in (made, *made.iterdir())} == {
        (UNKNOWN, UNKNOWN)
    }
    by_user = subprocess.run(
        reserve,
        env=env,
        cwd="/",
        capture_output=True,
        text=True,
        user=UNKNOWN,
        group=UNKNOWN,
        extra_groups=[],
    )
    assert (by_user.returncode, by_user.stdout) == (0, by_root.stdout), by_user


def test_what_root_waits_in_belongs_to_the_user(command: Path, data_dir: Path) -> None:
    """The queue of those that wait for the database, which is made by the first one who has to."""
    env = {"TROP_DATA_DIR": str(data_dir), "HOME": str(data_dir), "TROP_BUSY_TIMEOUT": "1"}
    reserve = [str(command), "reserve", "--path", "/", "--allow-unrelated-path", "--skip-occupancy-check"]
    subprocess.run(reserve, env=env, check=True, capture_output=True)
    program = Path(__file__).parent / "lock_holder.py"
    arguments = [sys.executable, str(program), str(data_dir / "trop.db")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        waited = subprocess.run([*reserve, "--tag", "a"], env=env, capture_output=True)
        assert waited.returncode == 2, waited
        holder.stdin.close()
    queue = (data_dir / "trop.db-queue").stat()
    assert (queue.st_uid, queue.st_gid) == (UNKNOWN, UNKNOWN)
