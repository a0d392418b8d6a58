"""Many processes in all languages at once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier

import pytest

import agents
import registry_files
from agents import Agent, Answer


def crowd(stack: ExitStack, languages: Sequence[str], directory: Path, env: dict[str, str]) -> list[Agent]:
    """Starts an agent for each."""
    return [stack.enter_context(agents.start(language, directory, env)) for language in languages]


def at_once(crew: list[Agent], calls: list[tuple[str, dict[str, str]]]) -> list[Answer]:
    """Makes all calls together: nobody starts before everybody is ready."""
    barrier = Barrier(len(crew))

    def make(agent: Agent, call: tuple[str, dict[str, str]]) -> Answer:
        barrier.wait(60)
        return agent.call(*call)

    with ThreadPoolExecutor(len(crew)) as pool:
        return list(pool.map(make, crew, calls))


def listed(crew: list[Agent]) -> list[dict[str, object]]:
    """What the registry holds, which every language tells alike."""
    lists = [json.loads(agent.call("list", {}).fields["json"]) for agent in crew]
    assert all(one == lists[0] for one in lists)
    result: list[dict[str, object]] = lists[0]
    return result


# Where specific ports do not matter: above the defaults, below Linux's ephemeral ports.
WIDE = {"ports_min": "20000", "ports_max": "29999", "busy_timeout_ms": "60000"}


@pytest.mark.parametrize("turn", range(3))
def test_storm(tmp_path: Path, env: dict[str, str], turn: int) -> None:
    """12 processes in six languages open a directory that does not exist and make 1,000 reservations."""
    data_dir = tmp_path / str(turn) / "data"
    opening = {"data_dir": str(data_dir), **WIDE}
    languages = agents.LANGUAGES * 2
    counts = [50 if language == "cli" else 90 for language in languages]
    assert len(languages) >= 12
    assert sum(counts) == 1000
    with ExitStack() as stack:
        crew = crowd(stack, languages, tmp_path, env)
        opened = at_once(crew, [("open", opening)] * len(crew))
        assert all(answer.ok for answer in opened), opened
        storms = [("storm", {"path": f"/w/{i}", "count": str(count)}) for i, count in enumerate(counts)]
        answers = at_once(crew, storms)
        assert all(answer.ok for answer in answers), answers
        given = {
            (f"/w/{i}", str(number)): int(port)
            for i, answer in enumerate(answers)
            for number, port in enumerate(answer.fields["ports"].split(","))
        }
        assert len(given) == 1000
        assert len(set(given.values())) == 1000, "a port was given twice"
        kept = {(row["path"], row["tag"]): row["port"] for row in listed(crew)}
        assert kept == given, "a reservation was lost or changed"
    assert registry_files.integrity(data_dir) == "ok"


def test_20_contenders_for_11_ports(tmp_path: Path, env: dict[str, str]) -> None:
    """Exactly 11 get one; 9 get the typed error, and nothing else happens."""
    ports = registry_files.free_ports(11)
    opening = {"data_dir": str(tmp_path / "data"), "ports_min": str(ports[0]), "ports_max": str(ports[-1])}
    with ExitStack() as stack:
        crew = crowd(stack, (agents.LANGUAGES * 4)[:20], tmp_path, env)
        assert all(answer.ok for answer in at_once(crew, [("open", opening)] * 20))
        answers = at_once(crew, [("reserve", {"path": "/", "tag": str(i)}) for i in range(20)])
        given = [int(answer.fields["port"]) for answer in answers if answer.ok]
        assert sorted(given) == list(ports)
        refused = [answer for answer in answers if not answer.ok]
        assert len(refused) == 9
        for answer in refused:
            assert answer.status == 6 or answer.fields["name"] == "TROP_EXHAUSTED", answer
            assert "exhausted" in answer.fields["message"]
        assert sorted(int(str(row["port"])) for row in listed(crew)) == list(ports)


def test_10_contenders_on_a_wide_range(tmp_path: Path, env: dict[str, str]) -> None:
    """Ten different ports."""
    opening = {"data_dir": str(tmp_path / "data"), **WIDE}
    with ExitStack() as stack:
        crew = crowd(stack, (agents.LANGUAGES * 2)[:10], tmp_path, env)
        assert all(answer.ok for answer in at_once(crew, [("open", opening)] * 10))
        answers = at_once(crew, [("reserve", {"path": f"/w/{i}"}) for i in range(10)])
        assert len({answer.fields["port"] for answer in answers}) == 10
        assert len(listed(crew)) == 10


@pytest.mark.parametrize("count", [2, 12])
def test_contenders_for_one_key(tmp_path: Path, env: dict[str, str], count: int) -> None:
    """One row, and the same port for everybody."""
    opening = {"data_dir": str(tmp_path / "data"), **WIDE}
    with ExitStack() as stack:
        languages = ["python", "node"] if count == 2 else agents.LANGUAGES * 2
        crew = crowd(stack, languages, tmp_path, env)
        assert all(answer.ok for answer in at_once(crew, [("open", opening)] * count))
        for turn in range(20):
            key = {"path": "/w/shared", "tag": str(turn)}
            answers = at_once(crew, [("reserve", key)] * count)
            assert len({answer.fields["port"] for answer in answers}) == 1, answers
            created = Counter(answer.fields.get("created") for answer in answers)
            assert created["1"] <= 1
        assert len(listed(crew)) == 20
