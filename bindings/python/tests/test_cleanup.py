"""`prune`, `expire`, `autoclean` and `migrate`."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import trop


@pytest.fixture
def stale(registry: trop.Registry, tmp_path: Path, sql: Callable[[str], str]) -> Path:
    """A directory with reservations of 0, 8 and 31 days; so has one that is gone."""
    for path in (tmp_path, Path("/gone")):
        for days in (0, 8, 31):
            registry.reserve(path, str(days))
    sql("UPDATE reservations SET last_used_at = last_used_at - 86400 * tag")
    return tmp_path


def keys(rows: tuple[trop.Reservation, ...] | list[trop.Reservation]) -> list[tuple[str, str | None]]:
    return [(row.path, row.tag) for row in rows]


def test_pruning_removes_what_has_no_directory(registry: trop.Registry, stale: Path) -> None:
    cleanup = registry.prune()
    assert isinstance(cleanup, trop.Cleanup)
    assert keys(cleanup.pruned) == [("/gone", "0"), ("/gone", "31"), ("/gone", "8")]
    assert (cleanup.expired, cleanup.preserved, cleanup.days) == ((), (), 30)
    assert keys(registry.list()) == [(str(stale), tag) for tag in ("0", "31", "8")]
    assert registry.prune().pruned == ()


def test_expiring_removes_what_was_not_used_for_long(registry: trop.Registry, stale: Path) -> None:
    assert keys(registry.expire().expired) == [("/gone", "31"), (str(stale), "31")]
    cleanup = registry.expire(7)
    assert keys(cleanup.expired) == [("/gone", "8"), (str(stale), "8")]
    assert (cleanup.pruned, cleanup.days) == ((), 7)
    assert keys(registry.list()) == [("/gone", "0"), (str(stale), "0")]


def test_autoclean_does_both(registry: trop.Registry, stale: Path) -> None:
    cleanup = registry.autoclean(days=7)
    assert keys(cleanup.pruned) == [("/gone", "0"), ("/gone", "31"), ("/gone", "8")]
    assert keys(cleanup.expired) == [(str(stale), "31"), (str(stale), "8")]
    assert keys(registry.list()) == [(str(stale), "0")]


@pytest.mark.usefixtures("stale")
def test_the_configured_days_are_the_default(data_dir: Path) -> None:
    (data_dir / "config.yaml").write_text("cleanup: {expire_after_days: 7}\n")
    with trop.Registry() as registry:
        assert registry.autoclean(40, dry_run=True).expired == ()
        assert registry.expire(dry_run=True).days == registry.autoclean().days == 7
        assert {row.tag for row in registry.list()} == {"0"}


def test_what_cannot_be_inspected_is_preserved(registry: trop.Registry, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    held = registry.reserve(loop / "below")
    cleanup = registry.prune()
    [preserved] = cleanup.preserved
    assert isinstance(preserved, trop.Preserved)
    assert (preserved.path, preserved.cause) == (str(loop / "below"), "symlink loop")
    assert repr(preserved) == f"Preserved(path={str(loop / 'below')!r}, cause='symlink loop')"
    assert registry.list() == [held]


def test_results_are_immutable_values(registry: trop.Registry) -> None:
    gone, held = registry.reserve("/gone"), registry.reserve("/")
    values = {
        registry.prune(dry_run=True): f"Cleanup(pruned=({gone!r},), expired=(), preserved=(), days=30)",
        registry.migrate("/", "/to", dry_run=True): (
            f"Migration(from_='/', to='/to', moves=(Move(reservation={held!r}, to='/to'),), conflicts=())"
        ),
    }
    assert {*values} == {registry.migrate("/", "/to", dry_run=True), registry.prune()}
    assert registry.prune() not in values
    for value, shown in values.items():
        assert repr(value) == shown
        assert type(value).__module__ == "trop"
        for twin in (pickle.loads(pickle.dumps(value)), copy.deepcopy(value)):
            assert (twin, hash(twin)) == (value, hash(value))
        for name in ("days", "moves", "anything"):
            with pytest.raises((AttributeError, TypeError)):
                setattr(value, name, 1)


def test_results_are_made_shown_and_copied_by_their_fields(registry: trop.Registry) -> None:
    held, lease = registry.reserve("/gone"), registry.lease(label="db")
    migration = registry.migrate("/gone", "/to", dry_run=True)
    values = [
        trop.Preserved("/a", cause="it's so"),
        registry.prune(dry_run=True),
        migration,
        *migration.moves,
        *registry.leases(),
        registry.explain(held),
        registry.explain(lease),
    ]
    for value in values:
        kind = type(value)
        fields = {name: getattr(value, name) for name in kind.__match_args__}
        assert fields.keys() == {name for name in dir(value) if not name.startswith("_")}
        assert [*inspect.signature(kind).parameters] == [*fields]
        assert repr(value) == f"{kind.__name__}({', '.join(f'{name}={fields[name]!r}' for name in fields)})"
        pickled = [pickle.dumps(value, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
        twins = [kind(*fields.values()), kind(**fields), copy.copy(value), copy.deepcopy(value)]
        for twin in twins + [pickle.loads(sent) for sent in pickled]:
            assert twin == value
            assert hash(twin) == hash(value) == hash((*fields.values(),))
        assert [value == other for other in values].count(True) == 1
        assert value != (*fields.values(),)
        for name in (*fields, "anything"):
            with pytest.raises(AttributeError):
                setattr(value, name, 1)
            with pytest.raises(AttributeError):
                delattr(value, name)
        with pytest.raises(TypeError, match=f"argument.*'{[*fields][-1]}'"):
            kind(*[*fields.values()][:-1])


def test_migrating_moves_and_tells_what(registry: trop.Registry) -> None:
    held = [registry.reserve("/from", tag, project="shop") for tag in (None, "web")]
    below = registry.reserve("/from/below")
    aside = registry.reserve("/from2")
    migration = registry.migrate("/from", "/to/./there")
    assert isinstance(migration, trop.Migration)
    assert (migration.from_, migration.to, migration.conflicts) == ("/from", "/to/there", ())
    assert migration.moves == tuple(trop.Move(row, "/to/there") for row in held)
    moved = registry.list(path="/to")
    assert [(row.port, row.tag, row.project) for row in moved] == [
        (row.port, row.tag, row.project) for row in held
    ]
    assert registry.list(path="/from") == [below]
    assert registry.list(path="/from2") == [aside]


def test_migrating_with_everything_below(registry: trop.Registry) -> None:
    registry.reserve("/from/below")
    with pytest.raises(trop.NotFoundError) as raised:
        registry.migrate("/from", "/to")
    assert isinstance(raised.value, LookupError)
    assert (raised.value.code, raised.value.number) == ("TROP_NOT_FOUND", -4)
    [move] = registry.migrate(Path("/from"), Path("/to"), recursive=True).moves
    assert (move.reservation.path, move.to) == ("/from/below", "/to/below")
    assert registry.migrate("/from", "/to", recursive=True).moves == ()
    assert keys(registry.list()) == [("/to/below", None)]


def test_migrating_onto_others_has_to_be_forced(registry: trop.Registry) -> None:
    held = [registry.reserve("/from"), registry.reserve("/to")]
    for options in ({}, {"dry_run": True}):
        with pytest.raises(trop.ConflictError) as raised:
            registry.migrate("/from", "/to", **options)
        assert (raised.value.code, raised.value.number) == ("TROP_CONFLICT", -5)
    assert registry.list() == held
    migration = registry.migrate("/from", "/to", force=True)
    assert migration.conflicts == (held[1],)
    assert [row.port for row in registry.list()] == [held[0].port]
