"""Every call of a registry, in forms that succeed in the directory of a project."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import trop

Calls = list[Callable[[], object]]


def make_project() -> None:
    """Makes the working directory a project, before its registry is opened."""
    Path("trop.yaml").write_text("reservations: {services: {api: {offset: 1}, web: }}\n")


def changing(registry: trop.Registry) -> Calls:
    """What waits for the write lock."""
    return [*rehearsable(registry), registry.lease, partial(registry.lease_many, 2, contiguous=True)]


def rehearsable(registry: trop.Registry) -> Calls:
    """Those of them that take `dry_run`."""
    return [
        # Asked for again in the same second without this it would change nothing, and not wait.
        partial(registry.reserve, "/a", overwrite=True),
        registry.reserve_group,
        partial(registry.release, "/a"),
        partial(registry.release_port, 1),
        registry.prune,
        registry.expire,
        registry.autoclean,
        partial(registry.migrate, "/a", "/b", recursive=True),
    ]


def reading(registry: trop.Registry) -> Calls:
    """What does not, dry runs included."""
    return [
        *(partial(change, dry_run=True) for change in rehearsable(registry)),
        partial(registry.find, "/a"),
        partial(registry.find_port, 1),
        registry.list,
        registry.projects,
        registry.leases,
        registry.own_leases,
        partial(registry.explain, 1),
        registry.scan,
        registry.validate_database,
    ]
