"""Leases in all languages at once: nobody ever has another's port, and what the killed had comes back."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from threading import Lock, Thread

import pytest

import agents
import registry_files
from agents import ROOT, Agent, Answer, at_once, crowd, together

TURNS = 100
MOST = 4


class Ledger:
    """Who has which port: told of a lease after it was taken, and of its end before it is closed."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.owners: dict[int, int] = {}
        self.taken = 0

    def begin(self, owner: int, ports: list[int]) -> None:
        with self.lock:
            for port in ports:
                assert port not in self.owners, f"port {port} has two owners"
                self.owners[port] = owner
            self.taken += len(ports)

    def end(self, ports: list[int]) -> None:
        with self.lock:
            for port in ports:
                del self.owners[port]


class Member:
    """One of a crowd: takes leases, listens on all of them, closes some, and is killed now and then."""

    def __init__(self, number: int, agent: Agent, ledger: Ledger, seed: int) -> None:
        self.number = number
        self.agent = agent
        self.ledger = ledger
        self.random = Random(seed)
        # Ports by handle.
        self.held: dict[str, int] = {}
        self.killed = 0

    def take(self) -> None:
        fields = {"count": "1"} if self.random.random() < 0.2 else {}
        if len(self.held) + 2 <= MOST and self.random.random() < 0.3:
            fields = {"count": "2", "contiguous": self.random.choice("01")}
        answer = self.agent.call("lease", fields)
        if fields.get("contiguous") == "1" and not answer.ok:
            # There may be no neighbours left; there are always single ports.
            assert "exhausted" in answer.fields["message"], answer
            return
        self.begin(answer)

    def begin(self, answer: Answer) -> None:
        assert answer.ok, answer
        ports = [int(port) for port in answer.fields["ports"].split(",")]
        handles = answer.fields["handles"].split(",")
        self.ledger.begin(self.number, ports)
        self.held |= dict(zip(handles, ports, strict=True))
        for handle in handles:
            listening = self.agent.call("lease_listen", {"handle": handle})
            assert listening.ok, f"a leased port cannot be bound: {listening}"

    def give_back(self) -> None:
        handle = self.random.choice(sorted(self.held))
        self.ledger.end([self.held.pop(handle)])
        closed = self.agent.call("lease_close", {"handle": handle})
        assert closed.ok, closed

    def die(self) -> None:
        """With `kill -9`, as a rule in the middle of leasing."""
        self.ledger.end([*self.held.values()])
        self.held.clear()
        self.killed += 1
        if not isinstance(self.agent, agents.CliAgent):
            for _ in range(20):
                self.agent.send("lease", {})
            for _ in range(self.random.randrange(20)):
                self.agent.receive()
        self.agent.kill()


@pytest.mark.parametrize("turn", range(2))
def test_a_crowd_that_is_killed_at_random(tmp_path: Path, env: dict[str, str], turn: int) -> None:
    """12 processes in six languages: never two owners of a port, and in the end all of them can be leased."""
    data_dir = tmp_path / "data"
    languages = agents.LANGUAGES * 2
    # Those in the middle of leasing take up to 20 more.
    ports = registry_files.free_ports(12 * (MOST + 20))
    opening = {
        "data_dir": str(data_dir),
        "ports_min": str(ports[0]),
        "ports_max": str(ports[-1]),
        "busy_timeout_ms": "120000",
    }
    ledger = Ledger()
    with ExitStack() as stack:

        def join(language: str) -> Agent:
            agent = agents.start(language, tmp_path, env)
            answer = agent.call("open", opening)
            assert answer.ok, answer
            return agent

        def live(number: int, agent: Agent) -> tuple[Agent, int]:
            member = Member(number, agent, ledger, 1000 * turn + number)
            for _ in range(TURNS):
                if member.random.random() < 0.15:
                    member.die()
                    member.agent = join(agent.language)
                elif member.held and (len(member.held) >= MOST or member.random.random() < 0.4):
                    member.give_back()
                else:
                    member.take()
            return member.agent, member.killed

        survivors = together([join(language) for language in languages], live)
        assert sum(killed for _, killed in survivors) >= 100
        assert ledger.taken >= 400
        half = len(survivors) // 2
        for agent, _ in survivors[:half]:
            agent.kill()
        for agent, _ in survivors[half:]:
            with agent:
                pass
        # Whoever comes next is refused none of them.
        crew = crowd(stack, ["rust", "python"], tmp_path, env)
        assert all(answer.ok for answer in at_once(crew, [("open", opening)] * 2))
        last = crew[turn % 2].call("lease", {"count": str(len(ports)), "contiguous": "1"})
        assert last.ok, last
        assert last.fields["ports"] == ",".join(map(str, ports))
        assert len(list(data_dir.glob("owner-*"))) == 1
        assert all(agent.call("validate_database", {}).ok for agent in crew)
    left_clean(data_dir)


def left_clean(data_dir: Path) -> None:
    """A sound database without a lease, and no file beside it."""
    assert registry_files.integrity(data_dir) == "ok"
    assert [file.name for file in data_dir.iterdir() if not file.name.startswith("trop.db")] == []
    assert registry_files.rows(data_dir) == []


def test_all_languages_at_once_lease_a_whole_range(tmp_path: Path, env: dict[str, str]) -> None:
    """20 ask for the only 11 ports: 11 get one, 9 the typed error; then 9 others, when those are closed."""
    ports = registry_files.free_ports(11)
    opening = {"data_dir": str(tmp_path / "data"), "ports_min": str(ports[0]), "ports_max": str(ports[-1])}
    with ExitStack() as stack:
        crew = crowd(stack, (agents.LANGUAGES * 4)[:20], tmp_path, env)
        assert all(answer.ok for answer in at_once(crew, [("open", opening)] * 20))
        answers = at_once(crew, [("lease", {})] * 20)
        assert sorted(int(answer.fields["ports"]) for answer in answers if answer.ok) == list(ports)
        refused = [agent for agent, answer in zip(crew, answers, strict=True) if not answer.ok]
        assert len(refused) == 9
        for answer in answers:
            assert answer.ok or "exhausted" in answer.fields["message"], answer
            assert answer.ok or answer.status == 125 or answer.fields["name"] == "TROP_EXHAUSTED", answer
        lucky = [agent for agent in crew if agent not in refused]
        assert all(answer.ok for answer in at_once(lucky, [("lease_close", {"handle": "0"})] * 11))
        again = at_once(refused, [("lease", {})] * 9)
        given = {int(answer.fields["ports"]) for answer in again}
        assert len(given) == 9
        assert given <= set(ports)


# ---- the test runners

PYTEST_WORKERS, PYTEST_BINDS = 16, 2000
JEST_WORKERS, JEST_FILES, JEST_BINDS = 8, 20, 1400
GO_BATCHES, GO_BINDS = 40, 1600

# They start when all of them and their workers are there; each binds by itself, and writes down what.

CONFTEST = """
import os, socket

def pytest_sessionstart(session):
    if hasattr(session.config, "workerinput"):
        # Answered when every runner is at work.
        with socket.create_connection(("127.0.0.1", int(os.environ["STARTER"]))) as starter:
            assert starter.recv(1) == b"!"
"""

PYTEST = f"""
import os, socket
import pytest

@pytest.mark.parametrize("number", range({PYTEST_BINDS}))
def test_bind(trop_port, number):
    with socket.socket() as server:
        server.bind(("127.0.0.1", trop_port))
        server.listen()
        with open(os.environ["BOUND"], "a") as bound:
            bound.write(f"pytest {{trop_port}}\\n")
"""

JEST_CONFIG = {"watchman": False, "transform": {}, "setupFilesAfterEnv": ["trop/jest"]}

JEST = f"""
const fs = require('node:fs');
const net = require('node:net');
const {{ once }} = require('node:events');

beforeAll(async () => {{
  const starter = net.connect(Number(process.env.STARTER), '127.0.0.1');
  const [answer] = await once(starter, 'data');
  expect(String(answer)).toBe('!');
  starter.destroy();
}}, 120_000);

test.each([...Array({JEST_BINDS // JEST_FILES}).keys()])('binds %i', async () => {{
  const port = tropPort();
  const server = net.createServer().listen(port, '127.0.0.1');
  await once(server, 'listening');
  fs.appendFileSync(process.env.BOUND, `jest ${{port}}\\n`);
  server.close();
  await once(server, 'close');
}}, 120_000);
"""

GO = f"""package bind

import (
	"fmt"
	"net"
	"os"
	"sync"
	"testing"

	"trop"
)

func TestBind(t *testing.T) {{
	starter, err := net.Dial("tcp", "127.0.0.1:"+os.Getenv("STARTER"))
	if err != nil {{
		t.Fatal(err)
	}}
	if _, err := starter.Read(make([]byte, 1)); err != nil {{
		t.Fatal(err)
	}}
	starter.Close()
	const size = {GO_BINDS // GO_BATCHES}
	for batch := range {GO_BATCHES} {{
		t.Run(fmt.Sprint(batch), func(t *testing.T) {{
			var all sync.WaitGroup
			all.Add(size)
			for number := range size {{
				t.Run(fmt.Sprint(number), func(t *testing.T) {{
					t.Parallel()
					lease := trop.LeaseT(t)
					server, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", lease.Port()))
					all.Done()
					if err != nil {{
						t.Fatal(err)
					}}
					defer server.Close()
					bound, err := os.OpenFile(os.Getenv("BOUND"), os.O_APPEND|os.O_WRONLY, 0)
					if err != nil {{
						t.Fatal(err)
					}}
					defer bound.Close()
					fmt.Fprintf(bound, "go %d\\n", lease.Port())
					// Each keeps its port until the whole batch has one.
					all.Wait()
				}})
			}}
		}})
	}}
}}
"""


@contextmanager
def starter(count: int) -> Iterator[int]:
    """A port that answers nobody before so many have connected, and then everybody at once."""
    with socket.create_server(("127.0.0.1", 0), backlog=count) as server:

        def serve() -> None:
            waiting = []
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    break
                waiting.append(connection)
                if len(waiting) < count and server.gettimeout() is None:
                    continue
                server.settimeout(300)
                for connection in waiting:
                    connection.sendall(b"!")
                    connection.close()
                waiting.clear()

        thread = Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def projects(directory: Path) -> dict[str, tuple[list[str], Path]]:
    """A project for each test runner, as its users have it: the command that tests it, and where."""
    for name in ("pytest", "jest/node_modules", "go"):
        (directory / name).mkdir(parents=True)
    files = {
        "pytest/pytest.ini": "[pytest]\nfilterwarnings = error\n",
        "pytest/conftest.py": CONFTEST,
        "pytest/test_bind.py": PYTEST,
        "jest/package.json": json.dumps({"jest": JEST_CONFIG}),
        "go/bind_test.go": GO,
        "go/go.mod": "module bind\n\ngo 1.23\n\nrequire trop v0.0.0\n\n"
        f"replace trop => {ROOT / 'bindings' / 'go'}\n",
    }
    files |= {f"jest/{number}.test.js": JEST for number in range(JEST_FILES)}
    for name, text in files.items():
        (directory / name).write_text(text)
    (directory / "jest" / "node_modules" / "trop").symlink_to(ROOT / "bindings" / "node")
    packages = ROOT / "examples" / "jest" / "node_modules"
    (directory / "jest" / "node_modules" / "@jest").symlink_to(packages / "@jest")
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", str(PYTEST_WORKERS)]
    jest = ["node", str(packages / "jest" / "bin" / "jest.js"), f"--maxWorkers={JEST_WORKERS}"]
    return {
        "pytest": (pytest_, directory / "pytest"),
        "jest": (jest, directory / "jest"),
        # As many at once as a batch has.
        "go": (["go", "test", "-count=1", f"-parallel={GO_BINDS // GO_BATCHES}", "."], directory / "go"),
    }


def test_pytest_jest_and_go_together(tmp_path: Path, env: dict[str, str]) -> None:
    """16 xdist workers, 8 of Jest and a Go test binary share one registry: 5,000 binds, no collision."""
    ports = registry_files.free_ports(1000)
    data_dir, bound = tmp_path / "data", tmp_path / "bound"
    bound.touch()
    commands = projects(tmp_path)
    names = ("GOCACHE", "GOPATH")
    told = subprocess.run(["go", "env", *names], check=True, capture_output=True, text=True).stdout
    # The home directory is another, but what Go has compiled before is of use.
    variables = {**env, **dict(zip(names, told.splitlines(), strict=True))}
    compile_only = ["go", "test", "-run=^$", "."]
    subprocess.run(compile_only, cwd=commands["go"][1], env=agents.environment(variables), check=True)
    with starter(PYTEST_WORKERS + JEST_WORKERS + 1) as start, ExitStack() as stack:
        variables |= {
            "TROP_DATA_DIR": str(data_dir),
            "TROP_LEASE_PORT_MIN": str(ports[0]),
            "TROP_LEASE_PORT_MAX": str(ports[-1]),
            "STARTER": str(start),
            "BOUND": str(bound),
            "CI": "1",
        }
        running = {}
        for name, (command, directory) in commands.items():
            output = stack.enter_context((tmp_path / f"{name}.log").open("w"))
            running[name] = subprocess.Popen(
                command,
                cwd=directory,
                env=agents.environment(variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            stack.callback(running[name].wait)
            stack.callback(running[name].kill)
        for name, process in running.items():
            process.wait(300)
            assert process.returncode == 0, (tmp_path / f"{name}.log").read_text()[-5000:]
    lines = bound.read_text().splitlines()
    assert all(re.fullmatch(r"(pytest|jest|go) \d+", line) for line in lines)
    counts = {name: sum(line.startswith(name) for line in lines) for name in commands}
    assert counts == {"pytest": PYTEST_BINDS, "jest": JEST_BINDS, "go": GO_BINDS}
    assert len(lines) == 5000
    with agents.start("rust", tmp_path, env) as agent:
        opening = {"data_dir": str(data_dir), "ports_min": str(ports[0]), "ports_max": str(ports[-1])}
        assert agent.call("open", opening).ok
        states = [lease["state"] for lease in json.loads(agent.call("leases", {}).fields["json"])]
        assert "alive" not in states
        # Whatever did not close them: all of them can be had.
        assert agent.call("lease", {"count": "1000"}).ok
    left_clean(data_dir)
