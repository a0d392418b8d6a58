"""How the tests themselves are made: what no single test can show."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from pathlib import Path

import agents
import traps
from agents import ROOT


def make(*arguments: str) -> str:
    """What make prints, here without anything it was started with."""
    command = ["make", "--no-print-directory", "-C", str(ROOT), *arguments]
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "TROP_DATA_DIR")}
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout


def sources_with_tests() -> dict[str, str]:
    """The files with tests, and what is in them."""
    paths = [path for path in traps.sources() if path != Path(__file__)]
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    kinds = re.compile(r"(^|/)tests?/|_test\.go$|^examples/.*test")
    return {name: text for name, text in texts.items() if kinds.search(name) or "#[cfg(test)]" in text}


def test_a_test_without_a_directory_of_its_own_fails(tmp_path: Path) -> None:
    """Every test target names a data directory that nobody can make, root included.

    Trap 131 (a test depends on its machine).
    """
    directory = make("-s", "--eval=test-show: ; @echo $$TROP_DATA_DIR", "test-show").strip()
    forgetful = {**os.environ, "TROP_DATA_DIR": directory, "HOME": str(tmp_path)}
    for command in ("reserve", "list", "init"):
        done = subprocess.run(
            [agents.CLI, command], cwd=tmp_path, env=forgetful, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (5, ""), done
    assert list(tmp_path.iterdir()) == []


def test_every_suite_has_ports_of_its_own() -> None:
    """As the README lists them: each suite sets its range, none meets another's, the default or the kernel's.

    Trap 131 (a test depends on its machine).
    """
    table = (ROOT / "tests" / "README.md").read_text()
    rows = re.findall(r"^\| (\d+) to (\d+) \|.*\| `(.*)` \|$", table, re.MULTILINE)
    assert len(rows) == 9
    for lowest, highest, file in rows:
        text = (ROOT / file).read_text()
        assert lowest in text, file
        assert highest in text, file
    others = [("5000", "7000", "the default"), ("32768", "60999", "the kernel's")]
    ends = [int(end) for row in sorted(rows + others, key=lambda row: int(row[0])) for end in row[:2]]
    assert ends == sorted(set(ends))


# No result depends on these sleeps: a watchdog, forks at different moments, and servers that take time to
# start. One file is about waiting for locks, beside its tests.
SLEEPS = Counter(
    {
        "trop-core/tests/common/mod.rs": 1,
        "trop-core/tests/fork.rs": 2,
        "trop-core/src/store/lock_wait.rs": 1,
        "tests/collisions.py": 1,
    }
)


def test_no_test_waits_by_sleeping() -> None:
    """Nor is one run again until it passes. Trap 132 (a race tested by sleeping)."""
    sleeping = re.compile(r"\bsleep\(|\bSleep\(|setTimeout\(|\bsleep [0-9]")
    found = Counter({name: len(sleeping.findall(text)) for name, text in sources_with_tests().items()})
    assert +found == SLEEPS
    again = re.compile(r"reruns|@flaky|\bflaky\(|retryTimes|test-timeouts-retry")
    assert [name for name, text in sources_with_tests().items() if again.search(text)] == []


def test_no_test_is_switched_off() -> None:
    """One may find that this machine cannot run it, and say so; none is off where it stands.

    Trap 134 (a test that is switched off).
    """
    off = re.compile(
        r"#\[ignore|mark\.skip\b|mark\.xfail|\b(?:it|test|describe)\.(?:skip|todo|only)\(|\bxit\("
    )
    assert [name for name, text in sources_with_tests().items() if off.search(text)] == []


def test_everything_is_part_of_the_one_command() -> None:
    """`make test` runs the tests of every folder that has any, and so does integration.

    Trap 134 (a test that is switched off).
    """
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    plan = make("-n", "test")
    ran = {
        "trop-core": "cargo test --workspace --exclude trop-cli",
        "trop-ffi": "cargo test --workspace --exclude trop-cli",
        "examples/cli": "cargo test -p trop-cli",
        "tests/c": "sh tests/c/run.sh",
        "bindings/go": r"cd bindings/go && .*go test .*\./\.\.\.",
        "bindings/python": r"cd bindings/python && .*python -m pytest",
        "bindings/node": "cd bindings/node && npm test",
        "examples/pytest": "cd examples/pytest",
        "examples/jest": "cd examples/jest",
        "examples/vitest": "cd examples/vitest",
        "examples/node-test": "cd examples/node-test",
        "examples/go": "cd examples/go && .*go test",
        "tests": r"python -m pytest tests",
    }
    for folder, command in ran.items():
        assert re.search(command, plan), folder
    missed = [
        name for name in sources_with_tests() if not name.startswith(tuple(f"{folder}/" for folder in ran))
    ]
    assert missed == []
    run = (ROOT / "tests" / "c" / "run.sh").read_text()
    assert [path.name for path in (ROOT / "tests" / "c").glob("*.c") if path.stem not in run] == []


def test_the_list_of_traps_is_checked_by_something_that_fails() -> None:
    """The checker sees an item without a test, a number that is none and one without words.

    Trap 133 (a test never seen to fail).
    """
    listed = traps.items((ROOT / "tests" / "traps.md").read_text(encoding="utf-8"))
    assert list(listed) == list(range(1, 138))
    # Not written out, or this file would name them.
    several = [
        "/// T 1 (a b).",
        "# Ts 2 (c), 30\n    # (d e), 31: why",
        "T 4, and more",
        "ts 5 (f)",
        "6 (g)",
        "T 1.",
    ]
    comments = [text.replace("T", "Trap") for text in several]
    assert traps.named(comments) == {1: False, 2: True, 30: True, 31: False, 4: False}
    assert traps.report({1: "one", 2: "two"}, {1: True, 3: True}) == ["2. two", "3 is no trap"]
    assert traps.report({1: "one", 2: "two"}, {1: False, 2: True}) == ["1 has no words"]
    assert traps.report({1: "one"}, {1: True}) == []
