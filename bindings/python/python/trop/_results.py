"""What calls return besides reservations and leases; made by the native module."""

from __future__ import annotations

from ._trop import Reservation

# What `typing.TYPE_CHECKING` is. Importing that module, or `dataclasses`, takes longer than all of trop.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from dataclasses import dataclass
    from datetime import datetime
    from typing import Literal
else:

    def dataclass(*, frozen: bool):
        """As much of the decorator as the classes below need."""
        assert frozen
        return _frozen

    def _frozen(kind: type) -> type:
        names = tuple(kind.__annotations__)
        # Compiled, so that arguments are checked as those of any function are.
        stored = ", ".join(f"{name}={name}" for name in names)
        program = f"def __init__(self, {', '.join(names)}): self.__dict__.update({stored})"
        space: dict = {}
        exec(program, space)

        def values(self) -> tuple:
            return tuple(getattr(self, name) for name in names)

        def set_nothing(self, name: str, value: object) -> None:  # noqa: ARG001
            raise AttributeError(f"cannot assign to field {name!r}")

        def delete_nothing(self, name: str) -> None:  # noqa: ARG001
            raise AttributeError(f"cannot delete field {name!r}")

        def is_equal(self, other: object) -> bool:
            return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

        def show(self) -> str:
            fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
            return f"{type(self).__qualname__}({fields})"

        kind.__module__ = "trop"
        kind.__match_args__ = names
        kind.__init__ = space["__init__"]
        kind.__setattr__, kind.__delattr__ = set_nothing, delete_nothing
        kind.__eq__ = is_equal
        kind.__hash__ = lambda self: hash(values(self))
        kind.__repr__ = show
        return kind


@dataclass(frozen=True)
class Preserved:
    """A path of which nobody can tell whether its directory is gone."""

    path: str
    cause: str
    """What the operating system answered, such as ``permission denied``."""


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Move:
    """A reservation that changed its path and nothing else."""

    reservation: Reservation
    """As it was."""
    to: str
    """Its new path."""


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class LeaseInfo:
    """A lease of anybody, as others see it."""

    port: int
    label: str | None
    """What it is for."""
    state: Literal["alive", "ended"]
    """Whether its owner is running. An ended lease is in nobody's way."""
    pid: int | None
    """The process that took it, by the id that it has in its own view; `None` if nobody knows any more."""
    command: str | None
    """The command line of that process."""
    directory: str
    """The working directory it was taken in."""
    since: datetime
    """When it was taken, in UTC."""


@dataclass(frozen=True)
class Explanation:
    """Who has a port in the registry and in the operating system. As text: sentences for people."""

    port: int
    reservation: Reservation | None
    """What the registry has reserved it for."""
    lease: LeaseInfo | None
    """What the registry has leased it to."""
    occupied: bool
    """Whether a program has it bound, as far as the occupancy check looks."""
    process_id: int | None
    """That program's process, if it can be named."""
    process_name: str | None
    user: str | None
    in_range: bool
    """Whether it lies in the registry's range."""
    excluded: bool
    """Whether the configuration excludes it."""
    text: str
    """All of this in sentences, a line each, with what to do."""

    def __str__(self) -> str:
        return self.text
