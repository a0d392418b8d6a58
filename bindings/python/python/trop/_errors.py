"""The exceptions: one for each stable error code, all of them under `Error`."""

from __future__ import annotations

import errno as _errno


class Error(Exception):
    """What every call of trop raises."""

    code: str = "TROP_UNKNOWN"
    """The stable name, the same in every language, such as ``TROP_EXHAUSTED``."""
    number: int = 0
    """The stable number, always negative in what trop raises."""
    argument: str | None = None
    """The argument or setting to blame, if one is."""


class InvalidArgumentError(Error, ValueError):
    """An argument is not acceptable."""

    code = "TROP_INVALID_ARGUMENT"
    number = -1


class ExhaustedError(Error):
    """No port of the range is usable."""

    code = "TROP_EXHAUSTED"
    number = -2


class BusyError(Error, TimeoutError):
    """The wait for the database lock ran out."""

    code = "TROP_BUSY"
    number = -3


class NotFoundError(Error, LookupError):
    """What was asked for does not exist."""

    code = "TROP_NOT_FOUND"
    number = -4


class ConflictError(Error):
    """A group, a migration, a live lease or another program's rule stands in the way."""

    code = "TROP_CONFLICT"
    number = -5


class StickyFieldError(Error):
    """The stored project or task differs and may not be changed."""

    code = "TROP_STICKY_FIELD"
    number = -6


class UnrelatedPathError(Error):
    """The path is neither above nor below the working directory."""

    code = "TROP_UNRELATED_PATH"
    number = -7


class ConfigError(Error):
    """The effective configuration is invalid."""

    code = "TROP_CONFIG"
    number = -8


class CorruptError(Error):
    """The database is damaged or is no database."""

    code = "TROP_CORRUPT"
    number = -9


class SchemaError(Error):
    """The database has a schema this version does not serve."""

    code = "TROP_SCHEMA"
    number = -10


class NoDataDirError(Error, FileNotFoundError):
    """There is no data directory and none may be made."""

    code = "TROP_NO_DATA_DIR"
    number = -11


class IoError(Error, OSError):
    """The operating system refused an operation; `errno` says why if it is known."""

    code = "TROP_IO"
    number = -12


class UnsupportedError(Error):
    """Not supported on this platform or file system."""

    code = "TROP_UNSUPPORTED"
    number = -13


class ClosedError(Error):
    """The registry or the lease was closed."""

    code = "TROP_CLOSED"
    number = -14


class NotListeningError(Error, TimeoutError):
    """Nothing listened in time."""

    code = "TROP_NOT_LISTENING"
    number = -15


class SecondCopyError(Error):
    """Another copy of SQLite in this process has the database open."""

    code = "TROP_SECOND_COPY"
    number = -16


class PanicError(Error):
    """A defect of trop itself; the registry it happened in is of no more use."""

    code = "TROP_PANIC"
    number = -99


_KINDS = {kind.number: kind for kind in Error.__subclasses__()}

for _kind in (Error, *_KINDS.values()):
    _kind.__module__ = "trop"


def make(number: int, code: str, message: str, argument: str | None, errno: int | None) -> Error:
    """Makes the exception for an error of the native module; a code without a class becomes an `Error`."""
    kind = _KINDS.get(number, Error)
    if kind is NoDataDirError:
        errno = _errno.ENOENT
    error = kind(message) if errno is None else kind(errno, message)
    error.number = number
    error.code = code
    error.argument = argument
    return error
