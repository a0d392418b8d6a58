"""Many processes in all languages at once."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

import agents
import registry_files
from agents import Agent, at_once, crowd, together


def listed(crew: list[Agent]) -> list[dict[str, object]]:
    """What the registry holds, which every language tells alike."""
    lists = [json.loads(agent.call("list", {}).fields["json"]) for agent in crew]
    assert all(one == lists[0] for one in lists)
    result: list[dict[str, object]] = lists[0]
    return result


# Where specific ports do not matter.
WIDE = {
    "ports_min": str(registry_files.LOWEST),
    "ports_max": str(registry_files.HIGHEST),
    "busy_timeout_ms": "60000",
}


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


# Of groups, whose reservations are made, moved and released together: none may ever be seen in part.
SERVICES = ("api", "db", "web")
GROUP = "reservations: {services: {web: {}, api: {offset: 1}, db: {offset: 2}}}\n"
# What may go wrong, in the words that the command has too: a place that is empty or taken by others.
EXPECTED = re.compile(
    r"not found: a reservation of exactly|conflict: \d+ of \d+ destination keys|reservation conflict: "
)


def errand(random: Random, work: Path) -> tuple[str, dict[str, str]]:
    """One operation on what all processes share."""
    place = f"/w/{random.randrange(4)}"
    group = str(work / random.choice("abc"))
    wherever = random.choice([group, str(work / random.choice("mn"))])
    return random.choice(
        [
            ("reserve", {"path": place, "tag": str(random.randrange(5))}),
            ("reserve", {"path": place, "tag": str(random.randrange(5)), "overwrite": "1"}),
            ("release", {"path": place, "tag": str(random.randrange(5))}),
            ("release", {"path": "/w", "recursive": "1"}),
            ("migrate", {"from": place, "to": f"/w/{random.randrange(6)}", "force": "1", "recursive": "1"}),
            ("prune", {}),
            ("autoclean", {"days": "1"}),
            ("reserve_group", {"file": f"{group}/trop.yaml"}),
            ("reserve_group", {"file": f"{group}/trop.yaml", "force": "1"}),
            ("migrate", {"from": wherever, "to": str(work / random.choice("mn"))}),
            ("migrate", {"from": wherever, "to": group, "force": "1"}),
            ("release", {"path": wherever}),
        ]
    )


@pytest.mark.parametrize("turn", range(3))
def test_mixed_operations(tmp_path: Path, env: dict[str, str], turn: int) -> None:
    """12 processes do whatever they like: nothing is lost, given twice or left in part."""
    data_dir, work = tmp_path / "data", tmp_path.resolve() / "work"
    for name in ("a", "b", "c", "m", "n", "own"):
        (work / name).mkdir(parents=True)
    for name in "abc":
        (work / name / "trop.yaml").write_text(GROUP)
    languages = agents.LANGUAGES * 2

    def live(number: int, agent: Agent) -> dict[str, int]:
        """Runs errands, and keeps a reservation of its own between any two of them."""
        random = Random(1000 * turn + number)
        kept = {}
        for step in range(20):
            verb, fields = errand(random, work)
            answer = agent.call(verb, fields)
            assert answer.ok or EXPECTED.search(answer.fields["message"]), (verb, fields, answer)
            tag = f"{number}-{step}"
            own = agent.call("reserve", {"path": str(work / "own"), "tag": tag})
            assert own.ok, own
            kept[tag] = int(own.fields["port"])
        return kept

    with ExitStack() as stack:
        crew = crowd(stack, languages, work, env)
        opening = {"data_dir": str(data_dir), **WIDE}
        assert all(answer.ok for answer in at_once(crew, [("open", opening)] * len(crew)))
        kept = {tag: port for part in together(crew, live) for tag, port in part.items()}
        rows = listed(crew)
        assert all(agent.call("validate_database", {}).ok for agent in crew)
    assert registry_files.integrity(data_dir) == "ok"
    ports = [row["port"] for row in rows]
    assert len(set(ports)) == len(ports), "a port was given twice"
    by_path: dict[object, dict[str, int]] = defaultdict(dict)
    for row in rows:
        by_path[row["path"]][str(row["tag"])] = int(str(row["port"]))
    assert by_path.pop(str(work / "own")) == kept, "a reservation was lost or changed"
    for path, tags in by_path.items():
        if not str(path).startswith("/w/"):
            assert tuple(sorted(tags)) == SERVICES, f"{path} has a group in part"
            assert [tags[tag] - tags["web"] for tag in SERVICES] == [1, 2, 0], f"{path} has a mixed group"
