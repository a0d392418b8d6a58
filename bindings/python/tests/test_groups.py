"""`reserve_group`: every option, and the same mapping as the command."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trop

COMMAND = Path(__file__).resolve().parents[3] / "target" / "release" / "trop"

GROUP = """\
project: shop
ports: {min: 26000, max: 27999}
occupancy_check: {skip: true}
reservations:
  services:
    web: {preferred: 27000, env: SITE}
    api-v2: {offset: 1}
    db: {offset: 2}
"""


@pytest.fixture
def file() -> Path:
    """A project's file in the working directory."""
    path = Path.cwd() / "trop.yaml"
    path.write_text(GROUP)
    return path


@pytest.mark.usefixtures("file")
def test_a_group_is_a_dictionary_in_the_order_of_the_tags() -> None:
    ports = trop.reserve_group()
    assert type(ports) is dict
    assert [*ports] == ["api-v2", "db", "web"]
    assert ports["web"] == 27000
    assert ports["db"] == ports["api-v2"] + 1
    assert trop.reserve_group(by="tag") == ports
    by_variable = trop.reserve_group(by="variable")
    assert [*by_variable.items()] == [*zip(["API_V2", "DB", "SITE"], ports.values(), strict=True)]
    held = {row.tag: (row.port, row.path, row.project) for row in trop.list()}
    assert held == {tag: (port, str(Path.cwd()), "shop") for tag, port in ports.items()}


def test_the_command_has_the_same_mapping(file: Path) -> None:
    if not COMMAND.exists():
        pytest.skip("needs the command: make cli")
    ports = trop.reserve_group()

    def told(*arguments: str) -> str:
        arguments = (os.fspath(COMMAND), *arguments)
        return subprocess.run(arguments, check=True, capture_output=True, text=True, timeout=30).stdout

    assert told("autoreserve", "--format", "json") == json.dumps(ports, indent=2) + "\n"
    assert json.loads(told("reserve-group", os.fspath(file), "--format", "json")) == ports
    lines = "".join(f"{name}={port}\n" for name, port in trop.reserve_group(by="variable").items())
    assert told("autoreserve", "--format", "dotenv") == lines


def test_the_file_is_the_one_that_is_named_else_found_upward(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work" / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "work" / "deep")
    found = trop.reserve_group()
    assert trop.reserve_group("../trop.yaml") == trop.reserve_group(file) == found
    named = tmp_path / "other.yaml"
    named.write_text(
        "reservations: {services: {only: {preferred: 27500}}}\nports: {min: 26000, max: 27999}\n"
    )
    assert trop.reserve_group(named) == {"only": 27500}
    with trop.Registry(start_dir=tmp_path) as registry, pytest.raises(trop.NotFoundError):
        registry.reserve_group()
    with trop.Registry(config_file=named) as registry:
        assert registry.reserve_group() == {"only": 27500}
    with trop.Registry(discovery=False) as registry:
        with pytest.raises(trop.NotFoundError):
            registry.reserve_group()
        assert registry.reserve_group(file) == found


@pytest.mark.usefixtures("file")
def test_the_task_is_stored_and_sticky() -> None:
    ports = trop.reserve_group(task="one")
    assert {row.task for row in trop.list()} == {"one"}
    assert trop.reserve_group() == ports
    for useless in ({}, {"allow_project_change": True}):
        with pytest.raises(trop.StickyFieldError) as raised:
            trop.reserve_group(task="two", **useless)
        assert raised.value.argument == "task"
    assert {row.task for row in trop.list()} == {"one"}
    assert trop.reserve_group(task="two", allow_task_change=True) == ports
    assert trop.reserve_group(task="three", force=True) == ports
    assert {row.task for row in trop.list()} == {"three"}


def test_the_project_is_sticky(file: Path) -> None:
    trop.reserve_group()
    file.write_text(GROUP.replace("shop", "store"))
    for useless in ({}, {"allow_task_change": True}):
        with pytest.raises(trop.StickyFieldError) as raised:
            trop.reserve_group(file, **useless)
        assert raised.value.argument == "project"
    trop.reserve_group(file, allow_project_change=True)
    assert {row.project for row in trop.list()} == {"store"}


@pytest.mark.usefixtures("file")
def test_what_is_stored_and_not_the_group_is_a_conflict_unless_forced() -> None:
    other = trop.reserve(tag="other", project="shop")
    with pytest.raises(trop.ConflictError, match="reservation conflict"):
        trop.reserve_group()
    assert trop.list() == [other]
    ports = trop.reserve_group(force=True)
    assert {row.tag: row.port for row in trop.list()} == ports


def test_the_path_guard(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for options in ({}, {"dry_run": True}):
        with pytest.raises(trop.UnrelatedPathError):
            trop.reserve_group(file, allow_unrelated_path=False, **options)
    assert trop.list() == []
    assert trop.reserve_group(file, allow_unrelated_path=False, force=True) == trop.reserve_group(file)


@pytest.mark.usefixtures("range_of_files")
def test_nothing_is_left_of_a_group_that_does_not_fit(file: Path) -> None:
    file.write_text("ports: {min: 26000, max: 26001}\n" + GROUP.replace("ports:", "#"))
    with pytest.raises(trop.ExhaustedError):
        trop.reserve_group()
    assert trop.list() == []


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("ports: [", trop.ConfigError),
        ("reservations: {services: {'a b': }}", trop.ConfigError),
        ("reservations: {services: {}}", trop.NotFoundError),
        ("reservations: null", trop.NotFoundError),
        ("project: shop", trop.NotFoundError),
    ],
)
def test_a_file_without_a_sound_group_is_refused(file: Path, text: str, error: type[trop.Error]) -> None:
    file.write_text(text)
    for named in (None, file):
        with pytest.raises(error):
            trop.reserve_group(named)
    with trop.Registry(discovery=False) as registry:
        assert registry.list() == []


def test_threads_that_ask_at_once_get_the_same_group(file: Path) -> None:
    barrier = threading.Barrier(8)

    def ask(number: int) -> dict[str, int]:
        with trop.Registry() as own:
            barrier.wait()
            return trop.reserve_group(file) if number % 2 else own.reserve_group()

    with ThreadPoolExecutor(8) as threads:
        first, *others = threads.map(ask, range(8))
    assert all(other == first for other in others)
    assert {row.tag: row.port for row in trop.list()} == first
