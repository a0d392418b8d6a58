import builtins
from collections.abc import Iterable
from datetime import datetime
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, SupportsIndex, TypeAlias, final

from typing_extensions import Self

_StrPath: TypeAlias = str | PathLike[str]

__all__ = ["CODES", "Registry", "Reservation", "__version__", "_restore", "list", "release", "reserve"]

CODES: Final[dict[str, int]]
__version__: Final[str]

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
    def refusal(self) -> Literal["outside_range", "reserved", "excluded", "occupied"] | None: ...
    def __int__(self) -> int: ...
    def __index__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Registry:
    def __new__(
        cls,
        data_dir: _StrPath | None = None,
        *,
        ports: tuple[SupportsIndex, SupportsIndex] | None = None,
        excluded: str | Iterable[SupportsIndex | str] | None = (),
        busy_timeout: float | None = None,
        create: bool = True,
        skip_occupancy_check: bool = False,
        skip_tcp: bool = False,
        skip_udp: bool = False,
        skip_ipv4: bool = False,
        skip_ipv6: bool = False,
        check_all_interfaces: bool = False,
    ) -> Self: ...
    @property
    def data_dir(self) -> Path: ...
    @property
    def closed(self) -> bool: ...
    def reserve(
        self,
        path: _StrPath | None = None,
        tag: str | None = None,
        *,
        port: SupportsIndex | None = None,
        min: SupportsIndex | None = None,
        max: SupportsIndex | None = None,
        allow_unrelated_path: bool = True,
    ) -> Reservation: ...
    def release(
        self,
        path: _StrPath | None = None,
        tag: str | None = None,
        *,
        untagged_only: bool = False,
        allow_unrelated_path: bool = True,
    ) -> int: ...
    def list(self) -> builtins.list[Reservation]: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

def reserve(
    path: _StrPath | None = None,
    tag: str | None = None,
    *,
    port: SupportsIndex | None = None,
    min: SupportsIndex | None = None,
    max: SupportsIndex | None = None,
    allow_unrelated_path: bool = True,
) -> Reservation: ...
def release(
    path: _StrPath | None = None,
    tag: str | None = None,
    *,
    untagged_only: bool = False,
    allow_unrelated_path: bool = True,
) -> int: ...
def list() -> builtins.list[Reservation]: ...
def _restore(
    stored: tuple[int, str, str | None, str | None, str | None, int, int],
    created: bool,
    refusal: str | None,
) -> Reservation: ...
