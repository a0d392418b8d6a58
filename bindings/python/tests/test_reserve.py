"""Every option of `reserve` and `release`; each test fails when its option is ignored."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trop

SKIPS = ("skip_occupancy_check", "skip_tcp", "skip_udp", "skip_ipv4", "skip_ipv6")
# What still refuses a port when a switch is on: what it does not leave out.
REFUSES = {
    None: {"tcp4", "udp4", "tcp6", "udp6"},
    "skip_occupancy_check": set(),
    "skip_tcp": {"udp4", "udp6"},
    "skip_udp": {"tcp4", "tcp6"},
    "skip_ipv4": {"tcp6", "udp6"},
    "skip_ipv6": {"tcp4", "udp4"},
}


def bind(kind: str, host: str | None = None) -> socket.socket:
    family = socket.AF_INET6 if kind.endswith("6") else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM if kind.startswith("tcp") else socket.SOCK_DGRAM)
    try:
        bound.bind((host or ("::1" if kind.endswith("6") else "127.0.0.1"), 0))
    except OSError:
        bound.close()
        pytest.skip(f"this machine has no {kind} on {host or 'loopback'}")
    return bound


def reserve(data_dir: Path, port: int, opening: dict[str, bool], asking: dict[str, bool]) -> int:
    with trop.Registry(data_dir, ports=(port, port), **opening) as registry:  # type: ignore[arg-type]
        return registry.reserve(**asking).port  # type: ignore[arg-type]


def reserve_group(data_dir: Path, port: int, opening: dict[str, bool], asking: dict[str, bool]) -> int:
    Path("trop.yaml").write_text("reservations: {services: {web: }}\n")
    with trop.Registry(data_dir, ports=(port, port), **opening) as registry:  # type: ignore[arg-type]
        return registry.reserve_group(**asking)["web"]  # type: ignore[arg-type]


@pytest.mark.parametrize("call", [reserve, reserve_group])
@pytest.mark.parametrize("on", ["registry", "call"])
@pytest.mark.parametrize("switch", [None, *SKIPS])
@pytest.mark.parametrize("kind", ["tcp4", "udp4", "tcp6", "udp6"])
def test_each_probe_is_left_out_by_its_switches(
    data_dir: Path, call: Callable[..., int], on: str, switch: str | None, kind: str
) -> None:
    with closing(bind(kind)) as foreign:
        port = foreign.getsockname()[1]
        switches = {switch: True} if switch else {}
        opening, asking = (switches, {}) if on == "registry" else ({}, switches)
        if kind in REFUSES[switch]:
            with pytest.raises(trop.ExhaustedError, match="occupied"):
                call(data_dir, port, opening, asking)
        else:
            assert call(data_dir, port, opening, asking) == port


@pytest.mark.parametrize("call", [reserve, reserve_group])
def test_all_interfaces_are_probed_if_asked_for(data_dir: Path, call: Callable[..., int]) -> None:
    with closing(bind("udp4", "127.0.0.2")) as foreign:
        port = foreign.getsockname()[1]
        every = {"check_all_interfaces": True}
        for opening, asking in ((every, {}), ({}, every)):
            with pytest.raises(trop.ExhaustedError, match="occupied"):
                call(data_dir, port, opening, asking)
        assert call(data_dir, port, {}, {}) == port


def test_all_interfaces_are_probed_for_leases_unless_that_is_denied(data_dir: Path) -> None:
    """None is what neither says: each layer may say yes or no, and the call has the last word."""
    with closing(bind("tcp4", "127.0.0.2")) as foreign:
        port = foreign.getsockname()[1]
        for registry, call, granted in (
            (None, None, False),
            (None, False, True),
            (False, None, True),
            (False, True, False),
            (True, False, True),
        ):
            with trop.Registry(data_dir, ports=(port, port), check_all_interfaces=registry) as opened:
                if granted:
                    opened.lease(check_all_interfaces=call).close()
                    opened.lease_many(1, check_all_interfaces=call)[0].close()
                    continue
                with pytest.raises(trop.ExhaustedError, match="1 occupied"):
                    opened.lease(check_all_interfaces=call)


@pytest.mark.parametrize("field", ["project", "task"])
def test_a_stored_field_changes_only_by_its_own_permission(registry: trop.Registry, field: str) -> None:
    other = "task" if field == "project" else "project"

    def ask(**options: Any) -> str | None:
        value: str | None = getattr(registry.reserve("/a", **options), field)
        return value

    assert ask(**{field: " one "}) == "one"
    assert ask() == "one"
    assert ask(**{field: "one"}) == "one"
    stored = registry.list()
    for refused in ({field: "two"}, {f"clear_{field}": True}):
        for useless in ({}, {f"allow_{other}_change": True}):
            with pytest.raises(trop.StickyFieldError, match=f"sticky field '{field}'") as raised:
                ask(**refused, **useless)
            assert (raised.value.code, raised.value.argument) == ("TROP_STICKY_FIELD", field)
    assert registry.list() == stored
    assert ask(**{field: "two", f"allow_{field}_change": True}) == "two"
    assert ask(**{f"clear_{field}": True, f"allow_{field}_change": True}) is None
    assert ask(**{field: "three", "force": True}) == "three"


def test_overwriting_chooses_anew(data_dir: Path) -> None:
    with trop.Registry(data_dir, ports=(26000, 27999), skip_occupancy_check=True) as registry:
        held = registry.reserve("/a", port=27000)
        assert registry.reserve("/a", port=27001).port == 27000
        moved = registry.reserve("/a", port=27001, overwrite=True)
        assert (moved.port, moved.created, moved.created_at) == (27001, False, held.created_at)
        assert registry.reserve("/a", port=27002, force=True).port == 27002
        assert len(registry.list()) == 1


def test_an_occupied_port_is_used_if_that_is_ignored() -> None:
    with closing(bind("tcp4")) as foreign, trop.Registry(ports=(1024, 65535)) as registry:
        port = foreign.getsockname()[1]
        assert registry.reserve("/a", port=port, ignore_exclusions=True).refusal == "occupied"
        assert registry.reserve("/b", port=port, ignore_occupied=True).port == port
        assert registry.release("/b") == 1
        assert registry.reserve("/b", port=port, force=True).port == port


def test_an_excluded_port_is_used_if_that_is_ignored() -> None:
    with trop.Registry(ports=(26000, 27999), excluded="27000", skip_occupancy_check=True) as registry:
        assert registry.reserve("/a", port=27000, ignore_occupied=True).refusal == "excluded"
        assert registry.reserve("/b", port=27000, ignore_exclusions=True).port == 27000
        assert registry.release("/b") == 1
        assert registry.reserve("/b", port=27000, force=True).port == 27000


def test_force_accepts_any_path(registry: trop.Registry) -> None:
    registry.reserve("/unrelated", allow_unrelated_path=False, force=True)


@pytest.fixture
def full(data_dir: Path, sql: Callable[[str], str]) -> Iterator[trop.Registry]:
    """A range of two ports: one of a directory that is gone, one not used for 31 days."""
    with trop.Registry(data_dir, ports=(26000, 26001), skip_occupancy_check=True) as registry:
        registry.reserve("/gone", port=26000)
        registry.reserve("/", "stale", port=26001)
        sql("UPDATE reservations SET last_used_at = last_used_at - 86400 * 31 WHERE tag = 'stale'")
        yield registry


def test_an_exhausted_range_is_cleaned_up_and_the_result_tells(full: trop.Registry) -> None:
    held = full.list()
    fresh = full.reserve("/etc")
    assert fresh.cleanup is not None
    assert [(row.path, row.tag) for row in fresh.cleanup.pruned] == [("/gone", None)]
    assert [(row.path, row.tag) for row in fresh.cleanup.expired] == [("/", "stale")]
    assert set(fresh.cleanup.pruned + fresh.cleanup.expired) == set(held)
    assert (fresh.cleanup.preserved, fresh.cleanup.days) == ((), 30)
    assert full.list() == [fresh]
    assert full.reserve("/dev").cleanup is None
    twin = pickle.loads(pickle.dumps(fresh))
    assert (twin, twin.cleanup) == (fresh, fresh.cleanup)


def test_either_half_of_the_clean_up_can_be_disabled(full: trop.Registry) -> None:
    held = full.list()
    both = {"disable_autoprune": True, "disable_autoexpire": True}
    for options in (both, {**both, "force": True}, {**both, "dry_run": True}):
        with pytest.raises(trop.ExhaustedError, match="automatic pruning and expiration disabled"):
            full.reserve("/etc", **options)  # type: ignore[arg-type]
    assert full.list() == held
    pruned = full.reserve("/etc", disable_autoexpire=True).cleanup
    assert pruned is not None
    assert (len(pruned.pruned), len(pruned.expired)) == (1, 0)
    expired = full.reserve("/dev", disable_autoprune=True).cleanup
    assert expired is not None
    assert (len(expired.pruned), len(expired.expired)) == (0, 1)


def test_releasing_below_a_path(registry: trop.Registry) -> None:
    for path in ("/x", "/x/y", "/x/y/z", "/xy"):
        registry.reserve(path)
        registry.reserve(path, "web")
    assert registry.release("/x", "web") == 1
    assert registry.release("/x", "web", recursive=True) == 2
    assert registry.release("/x", untagged_only=True, recursive=True) == 3
    assert registry.release("/", recursive=True) == 2


def test_releasing_by_port(registry: trop.Registry) -> None:
    held = registry.reserve("/x", "web")
    assert registry.release_port(held) is True
    assert registry.release_port(held.port) is False
    assert registry.list() == []


def test_a_dry_run_without_a_registry_creates_nothing(data_dir: Path) -> None:
    options = {"project": "shop", "skip_occupancy_check": True}
    planned = trop.reserve("/a", "web", dry_run=True, **options)  # type: ignore[arg-type]
    assert (planned.path, planned.tag, planned.project, planned.created) == ("/a", "web", "shop", True)
    assert (trop.release(dry_run=True), trop.release_port(26000, dry_run=True)) == (0, False)
    assert trop.autoclean(dry_run=True).pruned == ()
    assert not data_dir.exists()
    assert trop.reserve("/a", "web", **options).port == planned.port  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "call",
    [
        lambda registry, dry: registry.reserve("/new", dry_run=dry),
        lambda registry, dry: registry.reserve("/gone", "stale", port=27000, overwrite=True, dry_run=dry),
        lambda registry, dry: registry.reserve_group(dry_run=dry),
        lambda registry, dry: registry.reserve_group(by="variable", dry_run=dry),
        lambda registry, dry: registry.release("/gone", dry_run=dry),
        lambda registry, dry: registry.release("/", recursive=True, dry_run=dry),
        lambda registry, dry: registry.release_port(26000, dry_run=dry),
        lambda registry, dry: registry.prune(dry_run=dry),
        lambda registry, dry: registry.expire(dry_run=dry),
        lambda registry, dry: registry.autoclean(7, dry_run=dry),
        lambda registry, dry: registry.migrate("/gone", "/new", dry_run=dry),
    ],
)
def test_a_dry_run_tells_what_the_call_does_and_changes_nothing(
    data_dir: Path,
    sql: Callable[[str], str],
    write_lock: Callable[[], Any],
    call: Callable[[trop.Registry, bool], object],
) -> None:
    Path("trop.yaml").write_text("reservations: {services: {web: {offset: 1}, api: }}\n")
    with trop.Registry(data_dir, ports=(26000, 27999), skip_occupancy_check=True) as registry:
        for tag in (None, "fresh", "stale"):
            registry.reserve("/gone", tag)
            registry.reserve(os.fspath(data_dir), tag)
        sql("UPDATE reservations SET last_used_at = last_used_at - 86400 * 31 WHERE tag = 'stale'")
        everything = "SELECT * FROM reservations ORDER BY path, tag"
        before = sql(everything)
    with trop.Registry(data_dir, ports=(26000, 27999), busy_timeout=0, skip_occupancy_check=True) as registry:
        with write_lock():
            planned = call(registry, True)
        assert sql(everything) == before
        done = call(registry, False)
        assert sql(everything) != before
    if isinstance(planned, trop.Reservation):
        assert isinstance(done, trop.Reservation)
        planned, done = ((value.port, value.path, value.created) for value in (planned, done))
    assert planned == done
