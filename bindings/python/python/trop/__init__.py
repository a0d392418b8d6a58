"""The port registry of this machine: reserve TCP and UDP port numbers that nobody else gets."""

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
from ._results import Cleanup, Finding, Migration, Move, Preserved, Problem
from ._trop import Registry, Reservation, __version__, _machine, validate_config

# The calls of a registry, on the one of the machine: at TROP_DATA_DIR, else ~/.trop.
reserve = _machine.reserve
reserve_group = _machine.reserve_group
release = _machine.release
release_port = _machine.release_port
find = _machine.find
find_port = _machine.find_port
list = _machine.list
projects = _machine.projects
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
    "Finding",
    "InvalidArgumentError",
    "IoError",
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
    "find",
    "find_port",
    "list",
    "migrate",
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
