"""A machine without a home directory, as Nix, Bazel and services have it: ports in every language.

It has the default ranges and the directory that all processes of the user share, so it runs where neither is
the machine's: in a network and a tree of mounts of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

import agents

INSIDE = "TROP_TEST_INSIDE"

# What the password file says of root leads nowhere, and nobody sees the directories below /tmp.
PREPARE = """
ip link set lo up
mount -t tmpfs -o mode=1777 tmpfs /tmp
if test -d /run/user; then mount -t tmpfs tmpfs /run/user; fi
sed 's,^\\(root:[^:]*:0:0:[^:]*\\):[^:]*:,\\1:/nonexistent:,' /etc/passwd > /tmp/passwd
mount --bind /tmp/passwd /etc/passwd
exec "$@"
"""

HOMES: list[dict[str, str]] = [{}, {"HOME": "/homeless-shelter"}, {"HOME": "/proc/version"}]

GO_TEST = agents.ROOT / "target" / "examples" / "go-test"


def test_without_a_home_directory() -> None:
    """Runs the other test of this file inside."""
    if os.geteuid() != 0:
        pytest.skip("only root hides what is mounted")
    shell = ["unshare", "--mount", "--net", "sh", "-ec", PREPARE, "sh"]
    if subprocess.run([*shell, "true"], capture_output=True).returncode != 0:
        pytest.skip("no mounts and network of its own are permitted")
    GO_TEST.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["go", "test", "-c", "-o", GO_TEST, "."], cwd=agents.ROOT / "examples" / "go", check=True)
    inside = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "registry"]
    env = agents.environment({INSIDE: "1"})
    done = subprocess.run([*shell, *inside], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(HOMES)} passed" in done.stdout, done.stdout


@pytest.mark.skipif(INSIDE not in os.environ, reason="test_without_a_home_directory runs it")
@pytest.mark.parametrize("home", HOMES, ids=["unset", "missing", "a file"])
def test_every_language_has_ports_of_one_registry(home: dict[str, str], tmp_path: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if name not in ("HOME", INSIDE)}
    env = inherited | home
    with ExitStack() as stack:
        ports = []
        for language in agents.COMMANDS:
            agent = stack.enter_context(Homeless(language, tmp_path, env))
            assert agent.call("open", {}).ok
            answer = agent.call("lease", {})
            assert answer.ok, (language, answer)
            ports.append(int(answer.fields["ports"]))
        assert len(set(ports)) == len(ports)
        assert all(10000 <= port <= 29999 for port in ports), ports
        shown = run([agents.CLI, "show-data-dir"], tmp_path, env)
        assert shown == "/tmp/trop-0\n"
        listed = run([agents.CLI, "list", "--leases", "--format", "json"], tmp_path, env)
        assert all(f'"port": {port}' in listed or f'"port":{port}' in listed for port in ports), listed
        given = run([agents.CLI, "run", "--quiet", "--", "sh", "-c", "echo $PORT"], tmp_path, env)
        assert int(given) not in ports

    # The runners, each with its example.
    examples = agents.ROOT / "examples"
    run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], examples / "pytest", env)
    run(["node", "node_modules/jest/bin/jest.js", "--maxWorkers=2"], examples / "jest", env)
    run([str(GO_TEST)], examples / "go", env)
    left = run([agents.CLI, "list", "--leases", "--format", "json"], tmp_path, env)
    assert "alive" not in left, left


class Homeless(agents.Agent):
    """An agent with these variables and no others."""

    def __init__(self, language: str, cwd: Path, env: Mapping[str, str]) -> None:
        self.language = language
        self.process = subprocess.Popen(
            agents.COMMANDS[language],
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


def run(command: list[str], cwd: Path, env: Mapping[str, str]) -> str:
    done = subprocess.run(command, cwd=cwd, env=dict(env), capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout
