"""The scenarios of scenarios.json, in every language."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import stat
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

import agents
import registry_files

SCENARIOS = json.loads((Path(__file__).parent / "scenarios.json").read_text())
Step = dict[str, Any]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario["name"] for scenario in SCENARIOS])
def test_scenario(scenario: dict[str, Any], language: str, tmp_path: Path, env: dict[str, str]) -> None:
    if language in scenario.get("skip", {}):
        pytest.skip(scenario["skip"][language])
    work = tmp_path.resolve() / "work"
    work.mkdir()
    data_dir = registry_files.prepare(scenario.get("data_dir", "fresh"), tmp_path)
    with ExitStack() as stack:
        run = Run(data_dir, work, env, stack)
        variables = {name: run.fill(value) for name, value in scenario.get("env", {}).items()}
        run.agent = stack.enter_context(agents.start(language, work, env | variables))
        for number, step in enumerate(scenario["steps"], 1):
            if language in step.get("skip", {}):
                continue
            try:
                run.call(step) if "call" in step else getattr(run, step["do"])(step)
            except AssertionError as error:
                raise AssertionError(f"step {number}, {json.dumps(step)}: {error}") from error


class Run:
    """One run of a scenario: its agent, its files, and what it remembers."""

    agent: agents.Agent

    def __init__(self, data_dir: Path, work: Path, env: Mapping[str, str], stack: ExitStack) -> None:
        self.data_dir = data_dir
        self.work = work
        self.env = env
        self.stack = stack
        ports = registry_files.free_ports(10)
        self.range = {"ports_min": str(ports[0]), "ports_max": str(ports[-1])}
        # What stands for a word where a number is meant, and where text is.
        self.numbers = {f"{{p{index}}}": port for index, port in enumerate(ports)} | {"{pid}": os.getpid()}
        self.words = {word: str(number) for word, number in self.numbers.items()} | {
            "{work}": str(work),
            "{data}": str(data_dir),
            "{x300}": "x" * 300,
            "{above_root}": "../" * (len(work.parts) + 1) + "x",
        }
        self.other: agents.Agent | None = None
        self.rows: Any = None
        self.bytes: Any = None
        self.locker: sqlite3.Connection | None = None

    def call(self, step: Step) -> None:
        fields = step.get("with", {})
        if step["call"] == "open":
            fields = {"data_dir": str(self.data_dir), **self.range, **fields}
        fields = {name: self.fill(value) for name, value in fields.items() if value is not None}
        started = time.monotonic()
        answer = self.agent.call(step["call"], fields, step.get("raw", False))
        elapsed = (time.monotonic() - started) * 1000
        if "error" in step:
            self.check_error(step, answer)
        else:
            assert answer.ok, answer.fields
        assert elapsed >= step.get("at_least_ms", 0)
        for name, value in step.get("expect", {}).items():
            # The command does not tell every field.
            if answer.status is None or name in answer.fields:
                expected = None if value is None else self.fill(value)
                assert answer.fields.get(name) == expected, f"{name}: {answer.fields}"
        if "rows" in step:
            listed = json.loads(answer.fields["json"])
            columns = ("path", "tag", "port", "project", "task")
            expected = self.value(step["rows"])
            rows = [[row[name] for name in columns] for row in listed]
            short = [row[: len(wanted)] for row, wanted in zip(rows, expected, strict=False)]
            assert len(rows) == len(expected), rows
            assert short == expected, rows
        if "json" in step and (answer.status is None or "json" in answer.fields):
            expected = self.value(step["json"])
            told = masked(json.loads(answer.fields["json"]), expected)
            # As text, because True is 1 to Python.
            assert json.dumps(told, sort_keys=True) == json.dumps(expected, sort_keys=True)

    def check_error(self, step: Step, answer: agents.Answer) -> None:
        assert not answer.ok, answer.fields
        message = answer.fields["message"]
        assert self.fill(step.get("says", "")) in message, message
        for hostile in step.get("silent_about", []):
            assert hostile not in message, message
        if answer.status is None:
            assert answer.fields["name"] == step["error"], answer.fields
            assert answer.fields.get("argument") == step.get("argument"), answer.fields
        else:
            expected = step.get("exit", agents.EXIT_STATUS[step["error"]])
            assert answer.status == expected, (answer.status, message)
            if step["error"] == "TROP_INVALID_ARGUMENT" and "says" not in step:
                assert f"Invalid {step['argument']}" in message, message

    def fill(self, text: str) -> str:
        """The text with the words in braces replaced."""
        for word, value in self.words.items():
            text = text.replace(word, value)
        return text

    def value(self, data: Any) -> Any:
        """The data with the words in its texts replaced; a text that is the word for a number becomes it."""
        if isinstance(data, dict):
            return {self.fill(key): self.value(value) for key, value in data.items()}
        if isinstance(data, list):
            return [self.value(value) for value in data]
        return self.numbers.get(data, self.fill(data)) if isinstance(data, str) else data

    def write(self, step: Step) -> None:
        """Writes a file of the lines of `text` in the working directory."""
        file = self.work / self.fill(step["file"])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self.fill("\n".join(step["text"]) + "\n"))

    def mkdir(self, step: Step) -> None:
        (self.work / step["directory"]).mkdir(parents=True)

    def rmdir(self, step: Step) -> None:
        (self.work / step["directory"]).rmdir()

    def link(self, step: Step) -> None:
        (self.work / step["file"]).symlink_to(step["to"])

    def remove_database(self, _: Step) -> None:
        for file in self.data_dir.glob("trop.db*"):
            file.unlink()

    def sql(self, step: Step) -> None:
        """Changes rows or the structure behind the registry's back."""
        with closing(registry_files.connect(self.data_dir)) as connection:
            connection.execute(self.fill(step["run"]))

    def listen(self, step: Step) -> None:
        """Binds a port of 127.0.0.1, for TCP unless `protocol` is udp."""
        is_udp = step.get("protocol") == "udp"
        kind = socket.SOCK_DGRAM if is_udp else socket.SOCK_STREAM
        listener = self.stack.enter_context(socket.socket(type=kind))
        listener.bind(("127.0.0.1", int(self.fill(step["port"]))))
        if not is_udp:
            listener.listen()

    def use_up(self, step: Step) -> None:
        """Serves one client on a port and closes first, so that the port is closing for a minute."""
        address = ("127.0.0.1", int(self.fill(step["port"])))
        with socket.create_server(address) as server, socket.create_connection(address) as client:
            server.accept()[0].close()
            assert client.recv(1) == b""

    def other_leases(self, step: Step) -> None:
        """Somebody else leases a port: the language after this one."""
        index = agents.LANGUAGES.index(self.agent.language)
        language = agents.LANGUAGES[(index + 1) % len(agents.LANGUAGES)]
        self.other = agents.start(language, self.work, self.env)
        self.stack.callback(self.end_other)
        for verb, fields in (
            ("open", {"data_dir": str(self.data_dir), **self.range}),
            ("lease", {"port": self.fill(step["port"])}),
        ):
            answer = self.other.call(verb, fields)
            assert answer.ok, answer
        assert answer.fields["ports"] == self.fill(step["port"])

    def kill_other(self, _: Step) -> None:
        assert self.other is not None
        self.other.kill()
        self.other = None

    def end_other(self) -> None:
        if self.other is not None:
            with self.other:
                pass

    def seen_by_others(self, step: Step) -> None:
        """Every other language has the same list of leases, and the command counts their ports as taken."""
        told = json.loads(self.agent.call("leases", {}).fields["json"])
        ports = [self.value(port) for port in step["ports"]]
        assert [lease["port"] for lease in told] == ports
        for language in agents.LANGUAGES:
            with agents.start(language, self.work, self.env) as other:
                assert other.call("open", {"data_dir": str(self.data_dir), **self.range}).ok
                assert json.loads(other.call("leases", {}).fields["json"]) == told
                if isinstance(other, agents.CliAgent):
                    for port in (self.numbers["{p0}"], self.numbers["{p4}"], self.numbers["{p5}"]):
                        taken = other.run("assert-port", str(port))
                        assert taken.status == (0 if port in ports else 1), taken
                        info = other.run("port-info", str(port)).fields["stdout"]
                        assert ("not reserved" not in info) == (port in ports), info

    def owners(self, step: Step) -> None:
        """How many processes the data directory has a file of, as owners of leases."""
        assert len(list(self.data_dir.glob("owner-*"))) == step["count"]

    def accepts(self, step: Step) -> None:
        """Whether a connection to the port is accepted."""
        with socket.socket() as client:
            assert (client.connect_ex(("127.0.0.1", self.value(step["port"]))) == 0) == step["yes"]

    def bindable(self, step: Step) -> None:
        """Whether the port can be bound, without `SO_REUSEADDR`."""
        assert registry_files.is_free(self.value(step["port"])) == step["yes"]

    def snapshot(self, _: Step) -> None:
        self.rows = registry_files.rows(self.data_dir)

    def unchanged(self, _: Step) -> None:
        assert registry_files.rows(self.data_dir) == self.rows

    def snapshot_bytes(self, _: Step) -> None:
        self.bytes = registry_files.fingerprint(self.data_dir)

    def unchanged_bytes(self, _: Step) -> None:
        assert registry_files.fingerprint(self.data_dir) == self.bytes

    def nothing_created(self, _: Step) -> None:
        assert not self.data_dir.parent.parent.exists()

    def private(self, _: Step) -> None:
        assert stat.S_IMODE(self.data_dir.stat().st_mode) == 0o700
        for file in self.data_dir.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file

    def version_2(self, _: Step) -> None:
        with closing(registry_files.connect(self.data_dir)) as connection:
            version = connection.execute("SELECT value FROM metadata WHERE key = 'schema_version'").fetchone()
        assert version == ("2",)

    def lock(self, _: Step) -> None:
        self.locker = registry_files.connect(self.data_dir)
        self.stack.callback(self.locker.close)
        self.locker.execute("BEGIN IMMEDIATE")

    def unlock(self, _: Step) -> None:
        assert self.locker is not None
        self.locker.execute("ROLLBACK")


def masked(told: Any, expected: Any) -> Any:
    """What was told, with "*" wherever that is expected: it stands for anything."""
    if expected == "*":
        return "*"
    if isinstance(told, dict) and isinstance(expected, dict):
        return {key: masked(value, expected.get(key)) for key, value in told.items()}
    if isinstance(told, list) and isinstance(expected, list) and len(told) == len(expected):
        return [masked(*pair) for pair in zip(told, expected, strict=True)]
    return told
