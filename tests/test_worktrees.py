"""Two worktrees of one repository, as their users have them: servers in both at once, then one goes."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic

import pytest

from agents import CLI
from registry_files import free_ports

# Sets the variables as the documentation says, then becomes a server on the port of one of them.
SERVE = 'eval "$(trop autoreserve)" && exec "$1" -m http.server --bind 127.0.0.1 "$(eval echo "\\$$2")"'

NAMES = {"web": "WEB", "api": "API", "db": "DB_PORT"}


@pytest.fixture
def shell_env(env: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """A home directory of its own, and `trop` on the path; git reads no settings of the machine."""
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "trop").symlink_to(CLI)
    names = ("GIT_AUTHOR", "GIT_COMMITTER")
    return {
        "HOME": env["HOME"],
        "TROP_DATA_DIR": env["TROP_DATA_DIR"],
        "PATH": f"{commands}:{os.environ['PATH']}",
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"{name}_NAME": "Ada" for name in names},
        **{f"{name}_EMAIL": "ada@example.org" for name in names},
    }


def fetch(port: int, server: subprocess.Popen[bytes]) -> str:
    """The page a server shows, as soon as it listens."""
    deadline = monotonic() + 60
    while True:
        assert server.poll() is None, "the server ended early"
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 60) as client:
            # Closing resets the connection, so that the port can be bound again at once.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            page = b""
            while part := client.recv(65536):
                page += part
            return page.decode()
        assert monotonic() < deadline, f"nothing listens on {port}"


def test_worktrees_have_their_servers_side_by_side(tmp_path: Path, shell_env: dict[str, str]) -> None:
    """Each worktree has its own ports, keeps them, and gives them back by being deleted."""

    def run(*command: str, cwd: Path) -> str:
        done = subprocess.run(command, cwd=cwd, env=shell_env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ports(worktree: Path) -> dict[str, int]:
        script = 'eval "$(trop autoreserve)" && env'
        lines = run("sh", "-c", script, cwd=worktree).splitlines()
        variables = dict(line.split("=", 1) for line in lines if "=" in line)
        return {tag: int(variables[name]) for tag, name in NAMES.items()}

    free = free_ports(8)
    shop, fix, again = (tmp_path / name for name in ("shop", "shop-fix", "shop-again"))
    shop.mkdir()
    (shop / "trop.yaml").write_text(
        "project: shop\n"
        f"ports: {{min: {free[1]}, max: {free[7]}}}\n"
        "reservations:\n"
        "  services:\n"
        f"    web: {{preferred: {free[0]}}}\n"
        "    api: {offset: 1}\n"
        "    db: {offset: 2, env: DB_PORT}\n"
    )
    run("git", "init", "--quiet", "--initial-branch=main", cwd=shop)
    run("git", "add", ".", cwd=shop)
    run("git", "commit", "--quiet", "--message=Services", cwd=shop)
    run("git", "worktree", "add", "--quiet", "-b", "fix", str(fix), cwd=shop)

    expected = {
        shop: {"web": free[0], "api": free[2], "db": free[3]},
        # The preferred port is taken, so all three follow the pattern.
        fix: {"web": free[4], "api": free[5], "db": free[6]},
    }
    for worktree, mapping in expected.items():
        assert ports(worktree) == mapping
    with ExitStack() as stack:
        servers: dict[tuple[Path, str], subprocess.Popen[bytes]] = {}
        for worktree in (shop, fix):
            (worktree / worktree.name).touch()
            for tag, name in NAMES.items():
                server = subprocess.Popen(
                    ["sh", "-c", SERVE, "sh", sys.executable, name],
                    cwd=worktree,
                    env=shell_env,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                stack.callback(server.wait)
                stack.callback(server.kill)
                servers[worktree, tag] = server
        for (worktree, tag), server in servers.items():
            page = fetch(expected[worktree][tag], server)
            assert re.search(rf">{worktree.name}<", page), f"{tag} serves {worktree.name}: {page}"
        # With all of them running the answer is the same.
        assert {worktree: ports(worktree) for worktree in (shop, fix)} == expected

        for worktree, tag in servers:
            if worktree == fix:
                servers[worktree, tag].kill()
                servers[worktree, tag].wait()
        (fix / fix.name).unlink()
        run("git", "worktree", "remove", str(fix), cwd=shop)
        assert run("trop", "--quiet", "autoclean", cwd=shop) == "3\n"
        run("git", "worktree", "add", "--quiet", "-b", "again", str(again), cwd=shop)
        assert ports(again) == expected[fix], "the ports are reused"
        assert ports(shop) == expected[shop]
        listed = run("trop", "list", "--format", "csv", cwd=shop).splitlines()[1:]
        tasks = {tuple(line.split(",")[3:5]) for line in listed}
        assert tasks == {("shop", "main"), ("shop", "shop-again")}
