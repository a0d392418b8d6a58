import builtins
import socket
from collections.abc import Callable, Iterable
from datetime import datetime
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Never, SupportsIndex, TypeAlias, final

from typing_extensions import Self, disjoint_base

from ._dictionaries import Finding, Problem

_StrPath: TypeAlias = str | PathLike[str]

__all__ = [
    "CODES",
    "Cleanup",
    "Explanation",
    "Lease",
    "LeaseInfo",
    "Migration",
    "Move",
    "Preserved",
    "Registry",
    "Reservation",
    "_Operations",
    "__version__",
    "_forgotten_ports",
    "_lease_watchers",
    "_machine",
    "_restore",
    "validate_config",
]

CODES: Final[dict[str, int]]
__version__: Final[str]
_machine: Final[_Operations]
_lease_watchers: Final[list[Callable[[int, Lease | None], object]]]

def _forgotten_ports() -> builtins.list[int]: ...

@final
class Reservation:
    @property
    def port(self) -> int: ...
    @property
    def path(self) -> str: ...
    @property
    def tag(self) -> str | None: ...
    @property
    def project(self) -> str | None: ...
    @property
    def task(self) -> str | None: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def last_used_at(self) -> datetime: ...
    @property
    def created(self) -> bool: ...
    @property
    def refusal(self) -> Literal["outside_range", "reserved", "excluded", "occupied", "forbidden"] | None: ...
    @property
    def cleanup(self) -> Cleanup | None: ...
    def __int__(self) -> int: ...
    def __index__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Preserved:
    """A path of which nobody can tell whether its directory is gone."""

    __match_args__: Final = ("path", "cause")
    def __new__(cls, path: str, cause: str) -> Self: ...
    @property
    def path(self) -> str:
        """The path of the reservations."""

    @property
    def cause(self) -> str:
        """What the operating system answered, such as `permission denied`."""

    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Cleanup:
    """What a clean-up removed."""

    __match_args__: Final = ("pruned", "expired", "preserved", "days")
    def __new__(
        cls,
        pruned: tuple[Reservation, ...],
        expired: tuple[Reservation, ...],
        preserved: tuple[Preserved, ...],
        days: int,
    ) -> Self: ...
    @property
    def pruned(self) -> tuple[Reservation, ...]:
        """Those whose path is no directory any more, by path, then tag."""

    @property
    def expired(self) -> tuple[Reservation, ...]:
        """Those that were not used for more than `days` and were not pruned, the oldest first."""

    @property
    def preserved(self) -> tuple[Preserved, ...]:
        """The paths that could not be inspected and therefore kept their reservations."""

    @property
    def days(self) -> int:
        """The age limit in days of 86400 seconds."""

    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Move:
    """A reservation that changed its path and nothing else."""

    __match_args__: Final = ("reservation", "to")
    def __new__(cls, reservation: Reservation, to: str) -> Self: ...
    @property
    def reservation(self) -> Reservation:
        """As it was."""

    @property
    def to(self) -> str:
        """Its new path."""

    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Migration:
    """What a migration did."""

    __match_args__: Final = ("from_", "to", "moves", "conflicts")
    def __new__(
        cls, from_: str, to: str, moves: tuple[Move, ...], conflicts: tuple[Reservation, ...]
    ) -> Self: ...
    @property
    def from_(self) -> str:
        """The normal form of the source."""

    @property
    def to(self) -> str:
        """The normal form of the destination."""

    @property
    def moves(self) -> tuple[Move, ...]:
        """What was moved, by old path and tag."""

    @property
    def conflicts(self) -> tuple[Reservation, ...]:
        """What had a path and tag at the destination, and was removed."""

    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class LeaseInfo:
    """A lease of anybody, as others see it."""

    __match_args__: Final = (
        "port",
        "label",
        "state",
        "pid",
        "command",
        "directory",
        "since",
        "process_state",
        "kept_by",
    )
    def __new__(
        cls,
        port: int,
        label: str | None,
        state: Literal["alive", "ended"],
        pid: int | None,
        command: str | None,
        directory: str,
        since: datetime,
        process_state: Literal["running", "ended", "unknown"],
        kept_by: int | None,
    ) -> Self: ...
    @property
    def port(self) -> int:
        """The port number."""

    @property
    def label(self) -> str | None:
        """What it is for."""

    @property
    def state(self) -> Literal["alive", "ended"]:
        """Whether its owner is running: `alive` or `ended`. An ended lease is in nobody's way."""

    @property
    def pid(self) -> int | None:
        """The process that took it, by the id it has in its own view; `None` if nobody knows any more."""

    @property
    def command(self) -> str | None:
        """The command line of that process."""

    @property
    def directory(self) -> str:
        """The working directory it was taken in."""

    @property
    def since(self) -> datetime:
        """When it was taken, in UTC."""

    @property
    def process_state(self) -> Literal["running", "ended", "unknown"]:
        """Whether the process that took it is running: `running`, `ended` or, for one in another container,
        `unknown`. A lease outlives its process in the children that it has forked."""

    @property
    def kept_by(self) -> int | None:
        """The process that keeps a lease whose own process has ended; `None` if there is none or it cannot be
        found."""

    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Explanation:
    """Who has a port in the registry and in the operating system. As text: sentences for people."""

    __match_args__: Final = (
        "port",
        "reservation",
        "lease",
        "occupied",
        "process_id",
        "process_name",
        "user",
        "in_range",
        "excluded",
        "refused",
        "closing",
        "forbidden",
        "text",
    )
    def __new__(
        cls,
        port: int,
        reservation: Reservation | None,
        lease: LeaseInfo | None,
        occupied: bool,
        process_id: int | None,
        process_name: str | None,
        user: str | None,
        in_range: bool,
        excluded: bool,
        refused: bool,
        closing: bool,
        forbidden: bool,
        text: str,
    ) -> Self: ...
    @property
    def port(self) -> int:
        """The port number."""

    @property
    def reservation(self) -> Reservation | None:
        """What the registry has reserved it for."""

    @property
    def lease(self) -> LeaseInfo | None:
        """What the registry has leased it to."""

    @property
    def occupied(self) -> bool:
        """Whether a program has it bound, as far as the occupancy check looks."""

    @property
    def process_id(self) -> int | None:
        """That program's process, if it can be named."""

    @property
    def process_name(self) -> str | None:
        """The name of that process."""

    @property
    def user(self) -> str | None:
        """The user it runs as."""

    @property
    def in_range(self) -> bool:
        """Whether it lies in the registry's range."""

    @property
    def excluded(self) -> bool:
        """Whether the configuration excludes it."""

    @property
    def refused(self) -> bool:
        """Whether no search chooses it because web clients refuse to connect to it."""

    @property
    def closing(self) -> bool:
        """Whether only connections of a former server are left, so that a new one can use it."""

    @property
    def forbidden(self) -> bool:
        """Whether this user may not bind it."""

    @property
    def text(self) -> str:
        """All of this in sentences, a line each, with what to do."""

    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Lease:
    @property
    def port(self) -> int: ...
    @property
    def label(self) -> str | None: ...
    @property
    def closed(self) -> bool: ...
    def close(self) -> None: ...
    def listen(
        self, host: str | None = "127.0.0.1", backlog: SupportsIndex | None = 128
    ) -> socket.socket: ...
    def bind(
        self, protocol: Literal["tcp", "udp"] | None = "tcp", host: str | None = "127.0.0.1"
    ) -> socket.socket: ...
    def wait_listening(self, timeout: float | None = 10) -> None: ...
    def __int__(self) -> int: ...
    def __index__(self) -> int: ...
    def __format__(self, spec: str, /) -> str: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
    def __reduce__(self) -> Never: ...

@disjoint_base
class _Operations:
    def reserve(
        self,
        path: _StrPath | None = None,
        tag: str | None = None,
        *,
        port: SupportsIndex | None = None,
        min: SupportsIndex | None = None,
        max: SupportsIndex | None = None,
        project: str | None = None,
        task: str | None = None,
        clear_project: bool = False,
        clear_task: bool = False,
        overwrite: bool = False,
        ignore_occupied: bool = False,
        ignore_exclusions: bool = False,
        allow_unrelated_path: bool = True,
        allow_project_change: bool = False,
        allow_task_change: bool = False,
        force: bool = False,
        disable_autoprune: bool = False,
        disable_autoexpire: bool = False,
        skip_occupancy_check: bool = False,
        skip_tcp: bool = False,
        skip_udp: bool = False,
        skip_ipv4: bool = False,
        skip_ipv6: bool = False,
        check_all_interfaces: bool | None = None,
        dry_run: bool = False,
    ) -> Reservation: ...
    def reserve_group(
        self,
        file: _StrPath | None = None,
        *,
        task: str | None = None,
        by: Literal["tag", "variable"] = "tag",
        allow_unrelated_path: bool = True,
        allow_project_change: bool = False,
        allow_task_change: bool = False,
        force: bool = False,
        skip_occupancy_check: bool = False,
        skip_tcp: bool = False,
        skip_udp: bool = False,
        skip_ipv4: bool = False,
        skip_ipv6: bool = False,
        check_all_interfaces: bool | None = None,
        dry_run: bool = False,
    ) -> dict[str, int]: ...
    def release(
        self,
        path: _StrPath | None = None,
        tag: str | None = None,
        *,
        untagged_only: bool = False,
        recursive: bool = False,
        allow_unrelated_path: bool = True,
        dry_run: bool = False,
    ) -> int: ...
    def release_port(self, port: SupportsIndex, *, force: bool = False, dry_run: bool = False) -> bool: ...
    def lease(
        self,
        *,
        port: SupportsIndex | None = None,
        min: SupportsIndex | None = None,
        max: SupportsIndex | None = None,
        label: str | None = None,
        hold: bool = False,
        skip_occupancy_check: bool = False,
        skip_tcp: bool = False,
        skip_udp: bool = False,
        skip_ipv4: bool = False,
        skip_ipv6: bool = False,
        check_all_interfaces: bool | None = None,
    ) -> Lease: ...
    def lease_many(
        self,
        count: SupportsIndex,
        *,
        contiguous: bool = False,
        port: SupportsIndex | None = None,
        min: SupportsIndex | None = None,
        max: SupportsIndex | None = None,
        label: str | None = None,
        hold: bool = False,
        skip_occupancy_check: bool = False,
        skip_tcp: bool = False,
        skip_udp: bool = False,
        skip_ipv4: bool = False,
        skip_ipv6: bool = False,
        check_all_interfaces: bool | None = None,
    ) -> builtins.list[Lease]: ...
    def port(
        self,
        *,
        port: SupportsIndex | None = None,
        min: SupportsIndex | None = None,
        max: SupportsIndex | None = None,
        label: str | None = None,
        hold: bool = False,
        skip_occupancy_check: bool = False,
        skip_tcp: bool = False,
        skip_udp: bool = False,
        skip_ipv4: bool = False,
        skip_ipv6: bool = False,
        check_all_interfaces: bool | None = None,
    ) -> int: ...
    def ports(
        self,
        count: SupportsIndex,
        *,
        contiguous: bool = False,
        port: SupportsIndex | None = None,
        min: SupportsIndex | None = None,
        max: SupportsIndex | None = None,
        label: str | None = None,
        hold: bool = False,
        skip_occupancy_check: bool = False,
        skip_tcp: bool = False,
        skip_udp: bool = False,
        skip_ipv4: bool = False,
        skip_ipv6: bool = False,
        check_all_interfaces: bool | None = None,
    ) -> builtins.list[int]: ...
    def leases(self) -> builtins.list[LeaseInfo]: ...
    def own_leases(self) -> builtins.list[LeaseInfo]: ...
    def explain(self, port: SupportsIndex) -> Explanation: ...
    def find(self, path: _StrPath | None = None, tag: str | None = None) -> Reservation | None: ...
    def find_port(self, port: SupportsIndex) -> Reservation | None: ...
    def list(
        self, *, project: str | None = None, tag: str | None = None, path: _StrPath | None = None
    ) -> builtins.list[Reservation]: ...
    def projects(self) -> builtins.list[str]: ...
    def prune(self, *, dry_run: bool = False) -> Cleanup: ...
    def expire(self, days: SupportsIndex | None = None, *, dry_run: bool = False) -> Cleanup: ...
    def autoclean(self, days: SupportsIndex | None = None, *, dry_run: bool = False) -> Cleanup: ...
    def migrate(
        self,
        from_: _StrPath,
        to: _StrPath,
        /,
        *,
        recursive: bool = False,
        force: bool = False,
        dry_run: bool = False,
    ) -> Migration: ...
    def scan(
        self, *, min: SupportsIndex | None = None, max: SupportsIndex | None = None
    ) -> builtins.list[Finding]: ...
    def validate_database(self) -> None: ...

@final
class Registry(_Operations):
    def __new__(
        cls,
        data_dir: _StrPath | None = None,
        *,
        ports: tuple[SupportsIndex, SupportsIndex] | None = None,
        excluded: str | Iterable[SupportsIndex | str] | None = (),
        avoid_unsafe_ports: bool | None = None,
        busy_timeout: float | None = None,
        create: bool = True,
        discovery: bool = True,
        start_dir: _StrPath | None = None,
        config_file: _StrPath | None = None,
        variables: bool = True,
        skip_occupancy_check: bool = False,
        skip_tcp: bool = False,
        skip_udp: bool = False,
        skip_ipv4: bool = False,
        skip_ipv6: bool = False,
        check_all_interfaces: bool | None = None,
    ) -> Self: ...
    @property
    def data_dir(self) -> Path: ...
    @property
    def closed(self) -> bool: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

def validate_config(file: _StrPath) -> builtins.list[Problem]: ...
def _restore(
    stored: tuple[int, str, str | None, str | None, str | None, int, int],
    created: bool,
    refusal: str | None,
    cleanup: Cleanup | None,
) -> Reservation: ...
