"""Runs every example at once against one registry and proves that no port was given twice.

`make demo` builds the examples and runs this. The registry is a temporary one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import NamedTuple

EXAMPLES = Path(__file__).resolve().parent
ROOT = EXAMPLES.parent
TROP = ROOT / "target" / "release" / "trop"


class Got(NamedTuple):
    """One port that an example really listened on."""

    who: str
    language: str
    port: int
    took_ms: float


def run(command: list[str], where: str, env: dict[str, str]) -> str:
    """Runs an example in its folder and returns what it printed; its failure ends the demo."""
    done = subprocess.run(command, cwd=EXAMPLES / where, env=env, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{where} failed with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def program(who: str, language: str, command: list[str], env: dict[str, str]) -> list[Got]:
    """The C and Go programs: they print the port they listened on."""
    found = re.search(r"port (\d+) reserved in ([\d.]+) ms", run(command, who, env))
    assert found, f"{who} printed no port"
    return [Got(who, language, int(found[1]), float(found[2]))]


def test_run(who: str, language: str, command: list[str], env: dict[str, str]) -> list[Got]:
    """The pytest and Jest examples: each of their workers notes its port."""
    notes = Path(env["TROP_DATA_DIR"]).parent / f"{who}.tsv"
    run(command, who, {**env, "TROP_DEMO_LOG": str(notes)})
    lines = [line.split("\t") for line in notes.read_text().splitlines()]
    return sorted({Got(who, language, int(port), float(took)) for _, _, port, took in lines})


def command_line(env: dict[str, str]) -> list[Got]:
    """The trop command gives a port to a server that knows nothing of trop."""
    started = time.perf_counter()
    port = int(run([str(TROP), "reserve", "--tag", "web"], "cli", env))
    took = (time.perf_counter() - started) * 1000
    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        cwd=EXAMPLES / "cli",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return [Got("cli", "shell", port, took)]
            except OSError:
                if time.monotonic() > deadline or server.poll() is not None:
                    sys.exit(f"the server of the command-line example does not listen on {port}")
                time.sleep(0.02)
    finally:
        server.kill()
        server.wait()


def main() -> None:
    scratch = Path(tempfile.mkdtemp(prefix="trop-demo-"))
    env = {**os.environ, "TROP_DATA_DIR": str(scratch / "data")}
    env.pop("TROP_PATH", None)
    start = Barrier(5)

    def together(example, *arguments):  # type: ignore[no-untyped-def]
        start.wait()
        return example(*arguments, env)

    try:
        with ThreadPoolExecutor(5) as pool:
            running = [
                pool.submit(together, program, "c", "C", ["./example", "--keep"]),
                pool.submit(
                    together, program, "go", "Go", [str(ROOT / "target/examples/go-example"), "--keep"]
                ),
                pool.submit(
                    together, test_run, "pytest", "Python", [sys.executable, "-m", "pytest", "-n", "4"]
                ),
                pool.submit(together, test_run, "jest", "Node.js", ["npm", "test", "--silent"]),
                pool.submit(together, command_line),
            ]
            got = [port for example in running for port in example.result()]
        print(f"{'WHO':<10}{'LANGUAGE':<12}{'PORT':<8}TOOK")
        for who, language, port, took in got:
            print(f"{who:<10}{language:<12}{port:<8}{took:.2f} ms")
        prove(got, env)
    finally:
        shutil.rmtree(scratch)


def prove(got: list[Got], env: dict[str, str]) -> None:
    """Compares what the examples say with what the registry holds."""
    listed = json.loads(run([str(TROP), "list", "--format", "json"], "cli", env))
    registry = Counter(row["port"] for row in listed)
    twice = [port for port, count in (registry + Counter()).items() if count > 1]
    twice += [port for port, count in Counter(one.port for one in got).items() if count > 1]
    missing = {one.port for one in got} - set(registry)
    if twice or missing:
        sys.exit(f"FAILED: given twice: {sorted(set(twice))}; not in the registry: {sorted(missing)}")
    print(
        f"\n{len(got)} ports were listened on at the same time as {len(registry)} reservations of "
        f"{len({row['path'] for row in listed})} directories stood in one registry; no port was given twice."
    )


if __name__ == "__main__":
    main()
