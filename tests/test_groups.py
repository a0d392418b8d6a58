"""The same group, asked for in every language."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

import agents
import registry_files
from agents import at_once, crowd

PROJECT = """
project: shop
reservations:
  services:
    web: {env: WEB_PORT}
    api-v2: {offset: 1}
    ' db ': {offset: 3, preferred: %d}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The directory of a project, and one far below it."""
    directory = tmp_path.resolve() / "project"
    (directory / "deep" / "er").mkdir(parents=True)
    return directory


def mapping(answer: agents.Answer) -> bytes:
    """The mapping as bytes that are the same for the same mapping."""
    assert answer.ok, answer
    return json.dumps(json.loads(answer.fields["json"]), sort_keys=True).encode()


def test_every_language_gets_the_same_mapping(tmp_path: Path, project: Path, env: dict[str, str]) -> None:
    """Whoever asks first, from wherever, for the tags or for the variables."""
    ports = registry_files.free_ports(10)
    (project / "trop.yaml").write_text(PROJECT % ports[7])
    opening = {
        "data_dir": str(tmp_path / "data"),
        "ports_min": str(ports[0]),
        "ports_max": str(ports[-1]),
        "start_dir": str(project / "deep" / "er"),
    }
    by_tag = {"web": ports[0], "api-v2": ports[1], "db": ports[7]}
    by_variable = {"WEB_PORT": ports[0], "API_V2": ports[1], "DB": ports[7]}
    with ExitStack() as stack:
        crew = crowd(stack, agents.LANGUAGES, project, env)
        for agent in crew:
            assert agent.call("open", opening).ok
        for turn in range(len(crew)):
            # Another language is the first each time.
            crew = [*crew[1:], crew[0]]
            rows = None
            for agent in crew:
                for fields, expected in (
                    ({}, by_tag),
                    ({"file": str(project / "trop.yaml")}, by_tag),
                    ({"by": "variable"}, by_variable),
                ):
                    told = mapping(agent.call("reserve_group", fields))
                    assert told == json.dumps(expected, sort_keys=True).encode(), (turn, agent.language)
                # All but the time of the last use is as the first one left it.
                now = [row[:-1] for row in registry_files.rows(tmp_path / "data")]
                rows = rows or now
                assert now == rows
            assert [(row[0], row[1], row[2]) for row in rows or []] == [
                (str(project), tag, port) for tag, port in sorted(by_tag.items())
            ]
            released = crew[0].call("release", {"path": str(project)})
            assert released.fields["count"] == "3", released


def test_all_languages_at_once_get_one_group(tmp_path: Path, project: Path, env: dict[str, str]) -> None:
    """Two processes of each language ask for a group that is not there yet: one answer, one set of rows."""
    ports = registry_files.free_ports(10)
    (project / "trop.yaml").write_text(PROJECT % ports[7])
    data_dir = tmp_path / "data"
    opening = {
        "data_dir": str(data_dir),
        "ports_min": str(ports[0]),
        "ports_max": str(ports[-1]),
        "busy_timeout_ms": "60000",
    }
    with ExitStack() as stack:
        crew = crowd(stack, agents.LANGUAGES * 2, project, env)
        # The directory is new, too.
        assert all(answer.ok for answer in at_once(crew, [("open", opening)] * len(crew)))
        for turn in range(20):
            [told] = {mapping(answer) for answer in at_once(crew, [("reserve_group", {})] * len(crew))}
            rows = registry_files.rows(data_dir)
            assert {row[1]: row[2] for row in rows} == json.loads(told)
            assert [(row[0], row[1]) for row in rows] == [
                (str(project), tag) for tag in ("api-v2", "db", "web")
            ]
            assert len({row[5] for row in rows}) == 1, "they were not made at one instant"
            assert crew[turn % len(crew)].call("release", {"path": str(project)}).fields["count"] == "3"
    assert registry_files.integrity(data_dir) == "ok"
