"""What users write, for the type checker; never run."""

from __future__ import annotations

import builtins
import dataclasses
import socket
from datetime import datetime
from pathlib import Path

import pytest
import trop
from typing_extensions import assert_type


def use_the_module() -> int:
    reservation = trop.reserve(Path("a"), "web", port=5000, min=5000, max=6000, allow_unrelated_path=False)
    assert_type(reservation, trop.Reservation)
    assert_type(reservation.port, int)
    assert_type(reservation.tag, str | None)
    assert_type(reservation.created_at, datetime)
    assert_type(reservation.refusal == "occupied", bool)
    trop.reserve(tag="other", port=reservation)
    reservation.port = 1  # type: ignore[misc]
    trop.reserve("a", "web", 5000)  # type: ignore[call-arg]
    trop.reserve(b"a")  # type: ignore[arg-type]
    trop.reserve(port="5000")  # type: ignore[arg-type]
    trop.Reservation(5000)  # type: ignore[call-arg]
    assert_type(trop.list(), builtins.list[trop.Reservation])
    assert_type(trop.__version__, str)
    return trop.release(untagged_only=True) + int(reservation)


def use_the_other_calls() -> None:
    held = trop.reserve("a", project="shop", task="x", clear_project=False, overwrite=True, dry_run=True)
    if held.cleanup:
        assert_type(held.cleanup, trop.Cleanup)
    assert_type(trop.reserve_group(Path("trop.yaml"), by="variable", task="x"), dict[str, int])
    trop.reserve_group(by="port")  # type: ignore[arg-type]
    trop.reserve_group("trop.yaml", "x")  # type: ignore[call-arg]
    assert_type(trop.release(recursive=True, dry_run=True), int)
    assert_type(trop.release_port(held, dry_run=True), bool)
    assert_type(trop.find("a", "web"), trop.Reservation | None)
    assert_type(trop.find_port(5000), trop.Reservation | None)
    assert_type(trop.list(project="shop", tag="web", path=Path("a")), builtins.list[trop.Reservation])
    trop.list("shop")  # type: ignore[call-arg]
    assert_type(trop.projects(), builtins.list[str])
    cleanup = trop.autoclean(7, dry_run=True)
    assert_type(cleanup, trop.Cleanup)
    assert_type(
        cleanup.pruned + trop.prune().pruned + trop.expire(days=7).expired, tuple[trop.Reservation, ...]
    )
    assert_type([(kept.path, kept.cause) for kept in cleanup.preserved], builtins.list[tuple[str, str]])
    cleanup.days = 1  # type: ignore[misc]
    migration = trop.migrate("a", Path("b"), recursive=True, force=True, dry_run=True)
    assert_type(migration, trop.Migration)
    assert_type(
        [(move.reservation.port, move.to) for move in migration.moves], builtins.list[tuple[int, str]]
    )
    trop.migrate(from_="a", to="b")  # type: ignore[call-arg]
    assert_type(trop.Move(held, to="b"), trop.Move)
    trop.Move(held)  # type: ignore[call-arg]
    dataclasses.replace(cleanup, days=1)  # type: ignore[type-var]
    match cleanup.preserved[0]:
        case trop.Preserved(path, cause=cause):
            assert_type((path, cause), tuple[str, str])
    for finding in trop.scan(min=5000, max=6000):
        assert_type(finding, trop.Finding)
        assert_type(finding["process_id"], int | None)
        finding["pid"]  # type: ignore[typeddict-item]
    assert_type([problem["line"] for problem in trop.validate_config("trop.yaml")], builtins.list[int])
    trop.validate_database()


def use_leases() -> None:
    with trop.lease(port=5000, label="web", hold=False) as lease:
        assert_type(lease, trop.Lease)
        assert_type([lease.port, int(lease)], builtins.list[int])
        assert_type(lease.label, str | None)
        assert_type(lease.closed, bool)
        assert_type(lease.listen("localhost", backlog=1), socket.socket)
        assert_type(lease.bind("udp"), socket.socket)
        lease.bind("sctp")  # type: ignore[arg-type]
        lease.wait_listening(0.5)
        lease.port = 1  # type: ignore[misc]
    lease.close()
    trop.lease(5000)  # type: ignore[call-arg]
    trop.Lease(5000)  # type: ignore[call-arg]
    assert_type(trop.lease_many(3, contiguous=True, min=lease), builtins.list[trop.Lease])
    trop.lease(contiguous=True)  # type: ignore[call-arg]
    for info in trop.leases() + trop.own_leases():
        assert_type(info, trop.LeaseInfo)
        assert_type(info.state == "alive", bool)
        assert_type(info.since, datetime)
        assert_type((info.pid, info.command), tuple[int | None, str | None])
    said = trop.explain(lease)
    assert_type(said, trop.Explanation)
    assert_type((said.reservation, said.lease), tuple[trop.Reservation | None, trop.LeaseInfo | None])
    assert_type(trop.release_port(5000, force=True), bool)


def use_a_registry() -> None:
    with trop.Registry("data", ports=(5000, 6000), excluded=[1, "2..3"], busy_timeout=1) as registry:
        assert_type(registry, trop.Registry)
        assert_type(registry.list()[0].port, int)
        assert_type(registry.data_dir, Path)
        assert_type(registry.closed, bool)
        registry.reserve(tag="web")
    trop.Registry(excluded="5000, 5002", skip_tcp=True, create=False)
    trop.Registry(discovery=False, variables=False)
    trop.Registry(start_dir=Path("a"))
    trop.Registry(config_file="trop.yaml")
    trop.Registry(None, (1, 2))  # type: ignore[call-arg]
    trop.Registry(timeout=1)  # type: ignore[call-arg]


def use_errors() -> None:
    try:
        trop.reserve()
    except trop.IoError as error:
        assert_type(error.errno, int | None)
    except trop.Error as error:
        assert_type(error.code, str)
        assert_type(error.number, int)
        assert_type(error.argument, str | None)


@pytest.fixture
def port(trop_registry: trop.Registry) -> int:
    return trop_registry.reserve().port
