"""The port registry of this machine: reserve and lease TCP and UDP port numbers that nobody else gets."""

from __future__ import annotations

from ._errors import (
    BusyError,
    ClosedError,
    ConfigError,
    ConflictError,
    CorruptError,
    Error,
    ExhaustedError,
    InvalidArgumentError,
    IoError,
    NoDataDirError,
    NotFoundError,
    NotListeningError,
    PanicError,
    SchemaError,
    SecondCopyError,
    StickyFieldError,
    UnrelatedPathError,
    UnsupportedError,
)
from ._trop import (
    Cleanup,
    Explanation,
    Lease,
    LeaseInfo,
    Migration,
    Move,
    Preserved,
    Registry,
    Reservation,
    __version__,
    _machine,
    validate_config,
)

# Type checkers take it for that of `typing`, a module that takes longer to import than all of trop.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from ._dictionaries import Finding, Problem

# The methods of a registry, on that of this machine: at TROP_DATA_DIR, else ~/.trop.
reserve = _machine.reserve
reserve_group = _machine.reserve_group
lease = _machine.lease
lease_many = _machine.lease_many
port = _machine.port
ports = _machine.ports
release = _machine.release
release_port = _machine.release_port
find = _machine.find
find_port = _machine.find_port
list = _machine.list
projects = _machine.projects
leases = _machine.leases
own_leases = _machine.own_leases
explain = _machine.explain
prune = _machine.prune
expire = _machine.expire
autoclean = _machine.autoclean
migrate = _machine.migrate
scan = _machine.scan
validate_database = _machine.validate_database

__all__ = [
    "BusyError",
    "Cleanup",
    "ClosedError",
    "ConfigError",
    "ConflictError",
    "CorruptError",
    "Error",
    "ExhaustedError",
    "Explanation",
    "Finding",
    "InvalidArgumentError",
    "IoError",
    "Lease",
    "LeaseInfo",
    "Migration",
    "Move",
    "NoDataDirError",
    "NotFoundError",
    "NotListeningError",
    "PanicError",
    "Preserved",
    "Problem",
    "Registry",
    "Reservation",
    "SchemaError",
    "SecondCopyError",
    "StickyFieldError",
    "UnrelatedPathError",
    "UnsupportedError",
    "__version__",
    "autoclean",
    "expire",
    "explain",
    "find",
    "find_port",
    "lease",
    "lease_many",
    "leases",
    "list",
    "migrate",
    "own_leases",
    "port",
    "ports",
    "projects",
    "prune",
    "release",
    "release_port",
    "reserve",
    "reserve_group",
    "scan",
    "validate_config",
    "validate_database",
]


def __getattr__(name: str) -> type:
    """The types of dictionaries: few programs want them, and making them is slow."""
    if name in ("Finding", "Problem"):
        from . import _dictionaries

        kind: type = getattr(_dictionaries, name)
        return kind
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
