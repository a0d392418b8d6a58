"""The scenarios of scenarios.json, in every language."""

from __future__ import annotations

import json
import socket
import sqlite3
import stat
import time
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
    work = tmp_path / "work"
    work.mkdir()
    data_dir = registry_files.prepare(scenario.get("data_dir", "fresh"), tmp_path)
    with ExitStack() as stack:
        agent = stack.enter_context(agents.start(language, work, env))
        run = Run(agent, data_dir, work, stack)
        for number, step in enumerate(scenario["steps"], 1):
            if language in step.get("skip", {}):
                continue
            try:
                run.call(step) if "call" in step else getattr(run, step["do"])(step)
            except AssertionError as error:
                raise AssertionError(f"step {number}, {json.dumps(step)}: {error}") from error


class Run:
    """One run of a scenario: its agent, its files, and what it remembers."""

    def __init__(self, agent: agents.Agent, data_dir: Path, work: Path, stack: ExitStack) -> None:
        self.agent = agent
        self.data_dir = data_dir
        self.stack = stack
        ports = registry_files.free_ports(10)
        self.range = {"ports_min": str(ports[0]), "ports_max": str(ports[-1])}
        self.words = {f"p{index}": str(port) for index, port in enumerate(ports)}
        self.words["x300"] = "x" * 300
        self.words["above_root"] = "../" * (len(work.parts) + 1) + "x"
        self.remembered: Any = None
        self.locker: sqlite3.Connection | None = None

    def call(self, step: Step) -> None:
        fields = {name: self.fill(value) for name, value in step.get("with", {}).items()}
        if step["call"] == "open":
            fields = {"data_dir": str(self.data_dir), **self.range, **fields}
        started = time.monotonic()
        answer = self.agent.call(step["call"], fields, step.get("raw", False))
        elapsed = (time.monotonic() - started) * 1000
        if "error" in step:
            self.check_error(step, answer)
        else:
            assert answer.ok, answer.fields
        assert elapsed >= step.get("at_least_ms", 0)
        for name, value in step.get("expect", {}).items():
            if self.agent.tells is None or name in self.agent.tells:
                expected = None if value is None else self.fill(value)
                assert answer.fields.get(name) == expected, f"{name}: {answer.fields}"
        if "rows" in step:
            listed = json.loads(answer.fields["json"])
            rows = [(row["path"], row["tag"], str(row["port"])) for row in listed]
            assert rows == [(path, tag, self.fill(port)) for path, tag, port in step["rows"]]

    def check_error(self, step: Step, answer: agents.Answer) -> None:
        assert not answer.ok, answer.fields
        message = answer.fields["message"]
        assert step.get("says", "") in message, message
        if answer.status is None:
            assert answer.fields["name"] == step["error"], answer.fields
            assert answer.fields.get("argument") == step.get("argument"), answer.fields
        else:
            expected = step.get("exit", agents.EXIT_STATUS[step["error"]])
            assert answer.status == expected, (answer.status, message)
            if step["error"] == "TROP_INVALID_ARGUMENT" and "says" not in step:
                assert f"Invalid {step['argument']}" in message, message

    def fill(self, text: str) -> str:
        for word, value in self.words.items():
            text = text.replace("{" + word + "}", value)
        return text

    def listen(self, step: Step) -> None:
        listener = self.stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", int(self.fill(step["port"]))))
        listener.listen()

    def snapshot(self, _: Step) -> None:
        self.remembered = registry_files.rows(self.data_dir)

    def unchanged(self, _: Step) -> None:
        assert registry_files.rows(self.data_dir) == self.remembered

    def snapshot_bytes(self, _: Step) -> None:
        self.remembered = registry_files.fingerprint(self.data_dir)

    def unchanged_bytes(self, _: Step) -> None:
        assert registry_files.fingerprint(self.data_dir) == self.remembered

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
