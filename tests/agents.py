"""The agents: one small program a language (PROTOCOL.md), and the trop command as another."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
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

# The exit status of each error, as the command documents it.
EXIT_STATUS = {
    "TROP_INVALID_ARGUMENT": 4,
    "TROP_EXHAUSTED": 6,
    "TROP_BUSY": 2,
    "TROP_CORRUPT": 6,
    "TROP_SCHEMA": 6,
    "TROP_NO_DATA_DIR": 3,
    "TROP_IO": 5,
    "TROP_UNRELATED_PATH": 1,
}


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

    # The fields of an answer this agent can tell.
    tells: frozenset[str] | None = None

    def __init__(self, language: str, cwd: Path, env: Mapping[str, str]) -> None:
        self.language = language
        self.process = subprocess.Popen(
            COMMANDS[language],
            cwd=cwd,
            env={**os.environ, **env},
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
    """The trop command, run once a call; what `open` is told goes with every later call."""

    tells = frozenset({"port", "json"})

    def __init__(self, cwd: Path, env: Mapping[str, str]) -> None:
        self.language = "cli"
        self.cwd = cwd
        self.env = {**os.environ, **env}
        self.options: list[str] = []
        self.range: dict[str, str] = {}
        self.answers: list[Answer] = []

    def send(self, verb: str, fields: Mapping[str, str], raw: bool = False) -> None:
        if raw:
            fields = {name: unquote(value, errors="surrogateescape") for name, value in fields.items()}
        self.answers.append(getattr(self, verb)(**fields))

    def receive(self) -> Answer:
        return self.answers.pop(0)

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, *arguments: str) -> Answer:
        done = subprocess.run(
            [CLI, *self.options, *arguments], cwd=self.cwd, env=self.env, capture_output=True, text=True
        )
        if done.returncode == 0:
            return Answer(True, {"stdout": done.stdout}, 0)
        assert done.stdout == "", "a failure leaves stdout empty"
        assert re.search(r"^Error: ", done.stderr, re.M), done.stderr
        return Answer(False, {"message": done.stderr}, done.returncode)

    def open(
        self,
        data_dir: str,
        create: str = "1",
        busy_timeout_ms: str = "5000",
        ports_min: str = "5000",
        ports_max: str = "7000",
    ) -> Answer:
        self.options = ["--data-dir", data_dir, "--busy-timeout", str(int(busy_timeout_ms) // 1000)]
        if create == "0":
            self.options.append("--disable-autoinit")
        self.range = {"min": ports_min, "max": ports_max}
        return self.run("port-info", "1")

    def reserve(self, allow_unrelated_path: str = "1", **fields: str) -> Answer:
        options = [f"--{name}={value}" for name, value in {**self.range, **fields}.items()]
        if allow_unrelated_path == "1":
            options.append("--allow-unrelated-path")
        answer = self.run("reserve", *options)
        if answer.ok:
            assert re.fullmatch(r"\d+\n", answer.fields["stdout"]), answer
            answer.fields["port"] = answer.fields["stdout"].strip()
        return answer

    def storm(self, path: str, count: str) -> Answer:
        ports = []
        for number in range(int(count)):
            answer = self.reserve(path=path, tag=str(number))
            if not answer.ok:
                return answer
            ports.append(answer.fields["port"])
        return Answer(True, {"ports": ",".join(ports)})

    def release(self, path: str, tag: str | None = None, untagged_only: str = "0") -> Answer:
        options = [f"--path={path}", "--allow-unrelated-path"]
        if tag is not None:
            options.append(f"--tag={tag}")
        if untagged_only == "1":
            options.append("--untagged-only")
        return self.run("release", *options)

    def list(self) -> Answer:
        answer = self.run("list", "--format", "json")
        answer.fields["json"] = answer.fields.pop("stdout", "")
        return answer


def start(language: str, cwd: Path, env: Mapping[str, str]) -> Agent:
    """Starts the agent of a language in a working directory, with additional environment variables."""
    return CliAgent(cwd, env) if language == "cli" else Agent(language, cwd, env)
