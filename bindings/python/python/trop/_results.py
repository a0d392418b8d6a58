"""What calls return besides reservations; made by the native module."""

from dataclasses import dataclass
from typing import Literal, TypedDict, final

from ._trop import Reservation


@final
@dataclass(frozen=True, slots=True)
class Preserved:
    """A path of which nobody can tell whether its directory is gone."""

    path: str
    cause: str
    """What the operating system answered, such as ``permission denied``."""


@final
@dataclass(frozen=True, slots=True)
class Cleanup:
    """What a clean-up removed."""

    pruned: tuple[Reservation, ...]
    """Those whose path is no directory any more, by path, then tag."""
    expired: tuple[Reservation, ...]
    """Those that were not used for more than `days` and were not pruned, the oldest first."""
    preserved: tuple[Preserved, ...]
    """The paths that could not be inspected and therefore kept their reservations."""
    days: int
    """The age limit in days of 86400 seconds."""


@final
@dataclass(frozen=True, slots=True)
class Move:
    """A reservation that changed its path and nothing else."""

    reservation: Reservation
    """As it was."""
    to: str
    """Its new path."""


@final
@dataclass(frozen=True, slots=True)
class Migration:
    """What a migration did."""

    from_: str
    """The normal form of the source."""
    to: str
    """The normal form of the destination."""
    moves: tuple[Move, ...]
    """What was moved, by old path and tag."""
    conflicts: tuple[Reservation, ...]
    """What had a path and tag at the destination, and was removed."""


for _kind in (Preserved, Cleanup, Move, Migration):
    _kind.__module__ = "trop"


class Finding(TypedDict):
    """A port that something on this machine has bound; what is not known of its owner is `None`."""

    port: int
    status: Literal["occupied", "occupied (reserved)"]
    reserved: bool
    protocol: Literal["tcp", "udp"]
    address_family: Literal["ipv4", "ipv6"]
    scope: Literal["localhost", "wildcard"]
    address: str
    process_id: int | None
    process_name: str | None
    user: str | None
    owner_status: Literal["available", "partial", "unavailable"]


class Problem(TypedDict):
    """Something wrong with a configuration file."""

    path: str
    line: int
    """Counted from 1."""
    field: str
    """The key, such as ``ports.min``; ``configuration`` for the file as a whole."""
    reason: str
