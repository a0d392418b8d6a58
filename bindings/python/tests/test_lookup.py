"""Looking at the registry, at the machine's ports and at files."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trop


def test_finding_by_path_and_tag(registry: trop.Registry, sql: Callable[[str], str]) -> None:
    here, web = registry.reserve(), registry.reserve("/a", "web")
    sql("UPDATE reservations SET last_used_at = 1000000000")
    found = registry.find("/a/./", " web ")
    assert found is not None
    assert (found.port, found.tag, found.created, found.refusal) == (web.port, "web", False, None)
    assert int(found.last_used_at.timestamp()) == 1000000000
    untagged = registry.find()
    assert untagged is not None
    assert untagged.port == here.port
    assert registry.find("/a") is None
    assert registry.find(tag="web") is None


def test_finding_by_port(registry: trop.Registry) -> None:
    held = registry.reserve("/a", "web")
    assert registry.find_port(held.port) == registry.find_port(held) == held
    assert registry.find_port(1) is None


def test_listing_what_a_filter_lets_through(registry: trop.Registry) -> None:
    a = registry.reserve("/a", project="x")
    web = registry.reserve("/a/b", "web", project="x")
    other = registry.reserve("/ab", "web", project="y", clear_task=True)
    assert registry.list() == [a, web, other]
    assert registry.list(project="x") == [a, web]
    assert registry.list(tag="web") == [web, other]
    assert registry.list(path="/a") == [a, web]
    assert registry.list(project="x", tag="web", path=Path("/")) == [web]
    # Filters compare exactly, and whatever cannot be stored matches nothing.
    for nothing in (" x", "", "x\0", "z" * 1000):
        assert registry.list(project=nothing) == registry.list(tag=nothing) == []


def test_projects_are_sorted_by_their_bytes(registry: trop.Registry) -> None:
    assert registry.projects() == []
    for number, project in enumerate(("zebra", "alpha", "BETA", "é", "alpha")):
        registry.reserve(f"/{number}", project=project)
    registry.reserve("/none", clear_project=True)
    assert registry.projects() == ["BETA", "alpha", "zebra", "é"]


def test_scanning_tells_who_has_which_port(data_dir: Path) -> None:
    with socket.socket() as foreign:
        foreign.bind(("127.0.0.1", 0))
        foreign.listen()
        port = foreign.getsockname()[1]
        with trop.Registry(data_dir, ports=(port, port), skip_udp=True) as registry:
            [finding] = registry.scan()
            owner = {
                name: finding.pop(name) for name in ("process_id", "process_name", "user", "owner_status")
            }  # type: ignore[misc]
            assert [*finding.items()] == [
                ("port", port),
                ("status", "occupied"),
                ("reserved", False),
                ("protocol", "tcp"),
                ("address_family", "ipv4"),
                ("scope", "localhost"),
                ("address", "127.0.0.1"),
            ]
            assert [*owner] == [*trop.Finding.__annotations__][-4:]
            if sys.platform == "linux":
                assert owner["process_id"] == os.getpid()
            registry.reserve(skip_occupancy_check=True)
            [finding] = registry.scan(min=port, max=port)
            assert (finding["status"], finding["reserved"]) == ("occupied (reserved)", True)
            assert [*finding] == [*trop.Finding.__annotations__]


def test_scanning_takes_a_range_of_its_own(data_dir: Path) -> None:
    with socket.socket() as foreign, trop.Registry(data_dir, ports=(1, 1)) as registry:
        foreign.bind(("127.0.0.1", 0))
        foreign.listen()
        port = foreign.getsockname()[1]
        assert port in {finding["port"] for finding in registry.scan(min=port, max=port)}
        with pytest.raises(trop.ConfigError) as raised:
            registry.scan(min=port)
        assert raised.value.argument == "ports"
    with trop.Registry(data_dir, ports=(port, 65535)) as registry:
        assert all(finding["port"] <= port for finding in registry.scan(max=port))


def test_every_problem_of_a_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "trop.yaml"
    file.write_text("project: shop\n")
    assert trop.validate_config(file) == []
    file.write_text("# two faults\nports: {min: 0}\nproject: ' '\n")
    problems = trop.validate_config(str(file))
    assert [[*problem] for problem in problems] == [[*trop.Problem.__annotations__]] * 2
    told = [(problem["path"], problem["line"], problem["field"]) for problem in problems]
    assert sorted(told) == [(str(file), 2, "ports.min"), (str(file), 3, "project")]
    assert any("Cannot be empty" in problem["reason"] for problem in problems)
    user = tmp_path / "config.yaml"
    user.write_text("project: shop\n")
    assert [problem["field"] for problem in trop.validate_config(user)] == ["project"]


@pytest.mark.skipif(sys.platform == "darwin", reason="the file system takes UTF-8 only")
def test_a_file_name_need_not_be_utf_8(tmp_path: Path) -> None:
    file = tmp_path / "caf\udce9.yaml"
    file.write_text("[]\n")
    [problem] = trop.validate_config(file)
    assert problem["path"] == str(file)


def test_a_sound_database_is_valid(registry: trop.Registry, sql: Callable[[str], str]) -> None:
    registry.reserve("/a", project="shop")
    registry.validate_database()
    trop.validate_database()
    sql("UPDATE reservations SET project = ' '")
    for validate in (registry.validate_database, trop.validate_database):
        with pytest.raises(trop.CorruptError, match="field=project") as raised:
            validate()
        assert (raised.value.code, raised.value.argument) == ("TROP_CORRUPT", "data_dir")


def test_no_database_is_not_valid_and_none_is_made(data_dir: Path) -> None:
    with pytest.raises(trop.CorruptError, match="does not contain"):
        trop.validate_database()
    assert not data_dir.exists()
