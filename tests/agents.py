"""The agents: one small program a language (PROTOCOL.md), and the trop command as another."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier
from typing import TypeVar
from urllib.parse import quote, unquote

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / "target" / "agents"

COMMANDS = {
    "rust": [str(ROOT / "target" / "release" / "trop-agent")],
    "c": [str(BUILT / "c-agent")],
    "python": [sys.executable, str(ROOT / "tests" / "agents" / "python_agent.py")],
    "node": ["node", str(ROOT / "tests" / "agents" / "node_agent.js")],
    "go": [str(BUILT / "go-agent")],
}
CLI = str(ROOT / "target" / "release" / "trop")
LANGUAGES = [*COMMANDS, "cli"]

T = TypeVar("T")

# The exit status of each error, as the command documents it.
EXIT_STATUS = {
    "TROP_INVALID_ARGUMENT": 4,
    "TROP_EXHAUSTED": 6,
    "TROP_BUSY": 2,
    "TROP_NOT_FOUND": 6,
    "TROP_CONFLICT": 6,
    "TROP_STICKY_FIELD": 1,
    "TROP_UNRELATED_PATH": 1,
    "TROP_CONFIG": 7,
    "TROP_CORRUPT": 6,
    "TROP_SCHEMA": 6,
    "TROP_NO_DATA_DIR": 3,
    "TROP_IO": 5,
}

# How the command words why a preferred port was not used.
REFUSALS = {
    "it is outside the port range": "outside_range",
    "another path or tag has it": "reserved",
    "it is excluded": "excluded",
    "something on this machine is using it, or may be": "occupied",
    "this user may not bind it": "forbidden",
}


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """The variables of this process, without those that configure trop, and `env`."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TROP_")} | dict(env)


def encode(text: str) -> str:
    """Percent-encodes text; lone surrogates stand for bytes that are not UTF-8."""
    return quote(text, safe="_.-/~", errors="surrogateescape")


@dataclass
class Answer:
    """What an agent said."""

    ok: bool
    fields: dict[str, str] = field(default_factory=dict)
    # Of the command only.
    status: int | None = None


class Agent:
    """One agent process; a context manager that ends it."""

    def __init__(self, language: str, cwd: Path, env: Mapping[str, str]) -> None:
        self.language = language
        self.process = subprocess.Popen(
            COMMANDS[language],
            cwd=cwd,
            env=environment(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, verb: str, fields: Mapping[str, str], raw: bool = False) -> None:
        """Sends a command without waiting for its answer; `raw` values are already encoded."""
        parts = [verb, *(f"{name}={value if raw else encode(value)}" for name, value in fields.items())]
        assert self.process.stdin is not None
        self.process.stdin.write("\t".join(parts) + "\n")
        self.process.stdin.flush()

    def receive(self) -> Answer:
        """Waits for the answer to the oldest command."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the {self.language} agent ended with status {self.process.wait(10)}"
        status, *parts = line.rstrip("\n").split("\t")
        pairs = (part.split("=", 1) for part in parts)
        return Answer(status == "ok", {name: unquote(value) for name, value in pairs})

    def call(self, verb: str, fields: Mapping[str, str], raw: bool = False) -> Answer:
        """Sends a command and waits for its answer."""
        self.send(verb, fields, raw)
        return self.receive()

    def kill(self) -> None:
        """Ends the process as `kill -9` does, wherever it is; it is gone afterwards."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            assert self.process.wait(30) == 0, f"the {self.language} agent ended badly"
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


class CliAgent(Agent):
    """The trop command, run once a call; what `open` is told goes with every later call.

    Its answers have the fields that the command tells.
    """

    def __init__(self, cwd: Path, env: Mapping[str, str]) -> None:
        self.language = "cli"
        self.cwd = str(cwd)
        self.variables = environment(env)
        self.env = self.variables
        self.options: list[str] = []
        self.answers: list[Answer] = []
        # One for each lease, by its handle: the run that has it.
        self.runs: list[subprocess.Popen[str]] = []
        self.closed: set[int] = set()
        self.ports: list[int] = []
        self.sockets: dict[int, socket.socket] = {}

    def send(self, verb: str, fields: Mapping[str, str], raw: bool = False) -> None:
        if raw:
            fields = {name: unquote(value, errors="surrogateescape") for name, value in fields.items()}
        self.answers.append(getattr(self, verb)(**fields))

    def receive(self) -> Answer:
        return self.answers.pop(0)

    def kill(self) -> None:
        for listener in self.sockets.values():
            listener.close()
        for run in set(self.runs):
            run.kill()
            run.communicate()

    def __exit__(self, *_: object) -> None:
        for handle in range(len(self.runs)):
            self.lease_close(str(handle))

    def run(self, command: str, *arguments: str) -> Answer:
        """Runs the command; what it prints is in the fields `stdout` and `message`."""
        done = subprocess.run(
            [CLI, *self.options, command, *arguments],
            cwd=self.cwd,
            env=self.env,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            assert done.stdout == "", "a failure leaves stdout empty"
            assert re.search(r"^Error: ", done.stderr, re.M), done.stderr
        fields = {"stdout": done.stdout, "message": done.stderr}
        return Answer(done.returncode == 0, fields, done.returncode)

    def run_for_json(self, command: str, *arguments: str) -> Answer:
        answer = self.run(command, *arguments, "--format=json")
        answer.fields["json"] = answer.fields["stdout"]
        return answer

    def open(
        self,
        data_dir: str,
        create: str = "1",
        busy_timeout_ms: str | None = None,
        ports_min: str | None = None,
        ports_max: str | None = None,
        excluded: str | None = None,
        avoid_unsafe_ports: str | None = None,
        start_dir: str | None = None,
    ) -> Answer:
        self.options = ["--data-dir", data_dir]
        if busy_timeout_ms is not None:
            self.options += ["--busy-timeout", str(int(busy_timeout_ms) // 1000)]
        if create == "0":
            self.options.append("--disable-autoinit")
        # Not every command has flags for these.
        ports = given(TROP_PORT_MIN=ports_min, TROP_PORT_MAX=ports_max)
        ports |= given(TROP_LEASE_PORT_MIN=ports_min, TROP_LEASE_PORT_MAX=ports_max)
        passed_over = given(TROP_EXCLUDED_PORTS=excluded, TROP_AVOID_UNSAFE_PORTS=avoid_unsafe_ports)
        self.env = self.variables | ports | passed_over
        # The command finds its configuration from where it runs.
        self.cwd = start_dir or self.cwd
        return self.run("port-info", "1")

    def reserve(self, allow_unrelated_path: str = "1", **fields: str) -> Answer:
        options = flags({**fields, "allow_unrelated_path": allow_unrelated_path})
        answer = self.run("reserve", *options)
        if not answer.ok:
            return answer
        notes = answer.fields["message"]
        if fields.get("dry_run") == "1":
            assert answer.fields["stdout"] == "", answer
            [port] = re.findall(r"^Dry run: would (?:reserve|return) port (\d+)", notes, re.M)
        else:
            assert re.fullmatch(r"\d+\n", answer.fields["stdout"]), answer
            port = answer.fields["stdout"].strip()
        answer.fields["port"] = port
        if refused := re.search(r"^Warning: preferred port \d+ was not used: (.*)", notes, re.M):
            answer.fields |= given(refusal=REFUSALS.get(refused[1]))
        if cleaned := re.search(r"^Automatic cleanup: .* (\d+) pruned and (\d+) expired", notes, re.M):
            answer.fields |= {"pruned": cleaned[1], "expired": cleaned[2]}
        return answer

    def storm(self, path: str, count: str) -> Answer:
        ports = []
        for number in range(int(count)):
            answer = self.reserve(path=path, tag=str(number))
            if not answer.ok:
                return answer
            ports.append(answer.fields["port"])
        return Answer(True, {"ports": ",".join(ports)})

    def reserve_group(
        self, file: str | None = None, by: str = "tag", allow_unrelated_path: str = "1", **fields: str
    ) -> Answer:
        command = ["autoreserve"] if file is None else ["reserve-group", file]
        options = flags({**fields, "allow_unrelated_path": allow_unrelated_path})
        if by == "variable":
            answer = self.run(*command, *options, "--format=dotenv")
            pairs = (line.split("=") for line in answer.fields["stdout"].splitlines())
            answer.fields["json"] = json.dumps({name: int(port) for name, port in pairs})
        else:
            answer = self.run_for_json(*command, *options)
        if fields.get("dry_run") == "1":
            assert answer.fields.pop("stdout") == "", answer
            del answer.fields["json"]
        return answer

    def release(self, path: str, allow_unrelated_path: str = "1", **fields: str) -> Answer:
        fields |= {"path": path, "allow_unrelated_path": allow_unrelated_path}
        answer = self.run("release", *flags(fields))
        if answer.ok:
            released = re.search(r"(?:Released|would release) (\d+) port", answer.fields["message"])
            answer.fields["count"] = released[1] if released else "0"
        return answer

    def release_port(self, **fields: str) -> Answer:
        answer = self.run("release", *flags(fields))
        if answer.ok:
            released = re.search(r"(?:Released|would release) (\d+) port", answer.fields["message"])
            answer.fields["count"] = released[1] if released else "0"
        return answer

    def lease(self, count: str = "1", **fields: str) -> Answer:
        """Runs a program that tells its ports and then waits to be allowed to end."""
        names = ["PORT", *(f"PORT_{number}" for number in range(2, min(int(count), 100) + 1))]
        program = f"""echo "{" ".join(f"${{{name}}}" for name in names)}"; exec cat"""
        run = subprocess.Popen(
            [CLI, *self.options, "run", *flags({"count": count, **fields}), "--", "sh", "-c", program],
            cwd=self.cwd,
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert run.stdout is not None
        ports = run.stdout.readline().split()
        if not ports:
            _, message = run.communicate()
            assert re.search(r"^Error: ", message, re.M), message
            return Answer(False, {"message": message}, run.returncode)
        handles = range(len(self.runs), len(self.runs) + len(ports))
        self.runs += [run] * len(ports)
        self.ports += map(int, ports)
        fields = {"ports": ",".join(ports), "handles": ",".join(map(str, handles))}
        return Answer(True, fields, 0)

    def lease_listen(self, handle: str) -> Answer:
        """Listens in the place of the program."""
        listener = self.sockets[int(handle)] = socket.socket()
        listener.bind(("127.0.0.1", self.ports[int(handle)]))
        listener.listen()
        return Answer(True, {}, 0)

    def lease_close(self, handle: str) -> Answer:
        """Ends the run when all its ports are closed."""
        if listener := self.sockets.pop(int(handle), None):
            listener.close()
        self.closed.add(int(handle))
        run = self.runs[int(handle)]
        if all(number in self.closed for number, other in enumerate(self.runs) if other is run):
            # Once it has ended, this does nothing.
            if run.returncode is None:
                run.communicate()
            assert run.returncode == 0
        return Answer(True, {}, 0)

    def leases(self) -> Answer:
        return self.run_for_json("list", "--leases")

    def find(self, path: str, **fields: str) -> Answer:
        return self.found(self.run("assert-reservation", *flags({"path": path, **fields})))

    def find_port(self, port: str) -> Answer:
        answer = self.run("assert-port", port)
        answer.fields["stdout"] = port
        return self.found(answer)

    def found(self, assertion: Answer) -> Answer:
        """What the list has for an assertion's port."""
        if assertion.status == 1:
            return Answer(True, {"json": "null"})
        if assertion.ok:
            port = int(assertion.fields["stdout"])
            [row] = [row for row in json.loads(self.list().fields["json"]) if row["port"] == port]
            assertion.fields["json"] = json.dumps(row)
        return assertion

    def list(self, **filters: str) -> Answer:
        return self.run_for_json("list", *flags({f"filter_{name}": text for name, text in filters.items()}))

    def projects(self) -> Answer:
        answer = self.run("list-projects")
        answer.fields["json"] = json.dumps(answer.fields["stdout"].splitlines())
        return answer

    def prune(self, **fields: str) -> Answer:
        return self.clean("prune", r"(?:Removed|Would remove) (?P<pruned>\d+)", fields)

    def expire(self, **fields: str) -> Answer:
        return self.clean("expire", r"(?:Expired|Would expire) (?P<expired>\d+)", fields)

    def autoclean(self, **fields: str) -> Answer:
        return self.clean("autoclean", r"(?P<pruned>\d+) pruned, (?P<expired>\d+) expired", fields)

    def clean(self, command: str, summary: str, fields: Mapping[str, str]) -> Answer:
        answer = self.run(command, *flags(fields))
        if answer.ok:
            counts = re.search(summary, answer.fields["message"])
            assert counts, answer
            answer.fields |= {"pruned": "0", "expired": "0"} | counts.groupdict()
        return answer

    def migrate(self, **fields: str) -> Answer:
        answer = self.run("migrate", *flags(fields))
        if answer.ok:
            notes = answer.fields["message"]
            moved = re.search(r"Migrated: (\d+)|(\d+) reservations? would be migrated", notes)
            answer.fields["moved"] = (moved[1] or moved[2]) if moved else "0"
            answer.fields["conflicts"] = str(notes.count("Removing port "))
        return answer

    def scan(self, **fields: str) -> Answer:
        return self.run_for_json("scan", *flags(fields))

    def validate_config(self, file: str) -> Answer:
        answer = self.run("validate", file)
        if answer.status in (0, 1):
            finding = r"^validation error: (?P<field>\S+): '(?P<path>.*)' line (?P<line>\d+): (?P<reason>.*)"
            found = [match.groupdict() for match in re.finditer(finding, answer.fields["message"], re.M)]
            assert bool(found) == (answer.status == 1), answer
            problems = [{**problem, "line": int(problem["line"])} for problem in found]
            return Answer(True, {"json": json.dumps(problems)})
        return answer

    def validate_database(self) -> Answer:
        return self.run("assert-data-dir", "--validate")


def given(**fields: str | None) -> dict[str, str]:
    """Those that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


# Fields that are switches: 0 or 1.
SWITCH = re.compile(
    r"(allow|clear|disable|ignore|skip)_.*"
    r"|untagged_only|recursive|force|overwrite|dry_run|check_all_interfaces|contiguous|hold"
)


def flags(fields: Mapping[str, str]) -> list[str]:
    """Fields as the command's flags."""
    options = []
    for name, value in fields.items():
        flag = f"--{name.replace('_', '-')}"
        if not SWITCH.fullmatch(name):
            options.append(f"{flag}={value}")
        elif value == "1":
            options.append(flag)
    return options


def start(language: str, cwd: Path, env: Mapping[str, str]) -> Agent:
    """Starts the agent of a language in a working directory, with additional environment variables."""
    return CliAgent(cwd, env) if language == "cli" else Agent(language, cwd, env)


def crowd(stack: ExitStack, languages: Sequence[str], directory: Path, env: Mapping[str, str]) -> list[Agent]:
    """Starts an agent for each."""
    return [stack.enter_context(start(language, directory, env)) for language in languages]


def together(crew: Sequence[Agent], work: Callable[[int, Agent], T]) -> list[T]:
    """Lets each of the crew work at the same time: nobody starts before everybody is ready."""
    barrier = Barrier(len(crew))

    def begin(number: int, agent: Agent) -> T:
        barrier.wait(60)
        return work(number, agent)

    with ThreadPoolExecutor(len(crew)) as pool:
        return list(pool.map(begin, range(len(crew)), crew))


def at_once(crew: Sequence[Agent], calls: Sequence[tuple[str, dict[str, str]]]) -> list[Answer]:
    """Makes one call each, all together."""
    return together(crew, lambda number, agent: agent.call(*calls[number]))
