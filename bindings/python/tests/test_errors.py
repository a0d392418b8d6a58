from __future__ import annotations

import copy
import errno
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import trop
from trop import _errors, _trop

TABLE = [
    (trop.InvalidArgumentError, "TROP_INVALID_ARGUMENT", -1, (ValueError,)),
    (trop.ExhaustedError, "TROP_EXHAUSTED", -2, ()),
    (trop.BusyError, "TROP_BUSY", -3, (TimeoutError,)),
    (trop.NotFoundError, "TROP_NOT_FOUND", -4, (LookupError,)),
    (trop.ConflictError, "TROP_CONFLICT", -5, ()),
    (trop.StickyFieldError, "TROP_STICKY_FIELD", -6, ()),
    (trop.UnrelatedPathError, "TROP_UNRELATED_PATH", -7, ()),
    (trop.ConfigError, "TROP_CONFIG", -8, ()),
    (trop.CorruptError, "TROP_CORRUPT", -9, ()),
    (trop.SchemaError, "TROP_SCHEMA", -10, ()),
    (trop.NoDataDirError, "TROP_NO_DATA_DIR", -11, (FileNotFoundError,)),
    (trop.IoError, "TROP_IO", -12, (OSError,)),
    (trop.UnsupportedError, "TROP_UNSUPPORTED", -13, ()),
    (trop.ClosedError, "TROP_CLOSED", -14, ()),
    (trop.NotListeningError, "TROP_NOT_LISTENING", -15, (TimeoutError,)),
    (trop.SecondCopyError, "TROP_SECOND_COPY", -16, ()),
    (trop.PanicError, "TROP_PANIC", -99, ()),
]


def test_there_is_a_class_for_every_code_of_the_core() -> None:
    assert {code: number for _, code, number, _ in TABLE} == _trop.CODES
    public = {kind for kind in vars(trop).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert public == {trop.Error, *(kind for kind, *_ in TABLE)}


@pytest.mark.parametrize(("kind", "code", "number", "bases"), TABLE, ids=[row[1] for row in TABLE])
def test_each_class_is_an_error_with_its_code(
    kind: type[trop.Error], code: str, number: int, bases: tuple[type[Exception], ...]
) -> None:
    assert issubclass(kind, (trop.Error, *bases))
    assert all(issubclass(kind, base) for base in bases)
    assert (kind.code, kind.number, kind.argument) == (code, number, None)
    number_of_system = errno.EACCES if kind is trop.IoError else None
    error = _errors.make(number, code, "what happened", "path", number_of_system)
    assert type(error) is kind
    for twin in (error, copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (twin.code, twin.number, twin.argument) == (code, number, "path")
        assert str(twin).endswith("what happened")
        assert getattr(twin, "errno", None) == getattr(error, "errno", None)
    assert repr(error).startswith(kind.__name__)
    assert kind.__module__ == "trop"


def test_an_unknown_code_is_the_root_class() -> None:
    error = _errors.make(-1000, "TROP_NEW", "what happened", None, None)
    assert type(error) is trop.Error
    assert (error.code, error.number, error.argument) == ("TROP_NEW", -1000, None)


def test_exhausted(data_dir: Path) -> None:
    with trop.Registry(data_dir, ports=(26000, 26001), skip_occupancy_check=True) as registry:
        held = [registry.reserve("/"), registry.reserve("/dev")]
        with pytest.raises(trop.ExhaustedError, match=r"26000\.\.26001 exhausted: 2 reserved") as raised:
            registry.reserve("/etc")
        assert (raised.value.code, raised.value.number, raised.value.argument) == ("TROP_EXHAUSTED", -2, None)
        assert registry.list() == held


@pytest.mark.parametrize("busy_timeout", [0, 0.02])
def test_busy(
    data_dir: Path,
    write_lock: Callable[[], AbstractContextManager[Callable[[], None]]],
    busy_timeout: float,
) -> None:
    with trop.Registry(data_dir, busy_timeout=busy_timeout) as registry:
        held = registry.reserve("/a")
        with write_lock():
            for call in (registry.reserve, registry.release):
                with pytest.raises(trop.BusyError) as raised:
                    call("/b")
                assert isinstance(raised.value, TimeoutError)
            assert registry.list() == [held]
        registry.reserve("/b")


def test_unrelated_path(registry: trop.Registry) -> None:
    for call in (registry.reserve, registry.release, trop.reserve, trop.release):
        with pytest.raises(trop.UnrelatedPathError) as raised:
            call("/unrelated", allow_unrelated_path=False)
        assert raised.value.argument == "path"
        call("below", allow_unrelated_path=False)


def test_config(registry: trop.Registry) -> None:
    with pytest.raises(trop.ConfigError) as raised:
        registry.reserve(min=28000)
    assert raised.value.argument == "ports"


def test_corrupt(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "trop.db").write_bytes(b"no database" * 1000)
    with pytest.raises(trop.CorruptError) as raised:
        trop.Registry()
    assert raised.value.argument == "data_dir"


def test_schema(sql: Callable[[str], str]) -> None:
    with trop.Registry() as registry:
        registry.reserve()
    sql("UPDATE metadata SET value = '3' WHERE key = 'schema_version'")
    with pytest.raises(trop.SchemaError) as raised:
        trop.Registry()
    assert raised.value.argument == "data_dir"


def test_no_data_dir(data_dir: Path) -> None:
    with pytest.raises(trop.NoDataDirError) as raised:
        trop.Registry(create=False)
    assert isinstance(raised.value, FileNotFoundError)
    assert (raised.value.errno, raised.value.argument) == (errno.ENOENT, "data_dir")
    assert not data_dir.exists()


def test_a_data_directory_that_is_a_file(data_dir: Path) -> None:
    data_dir.touch()
    for directory in (data_dir, data_dir / "below"):
        with pytest.raises(trop.IoError) as raised:
            trop.Registry(directory)
        assert isinstance(raised.value, OSError)
        assert (raised.value.errno, raised.value.argument) == (errno.ENOTDIR, "data_dir")
        assert str(directory) in str(raised.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unwritable for root")
def test_a_data_directory_that_is_not_writable(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(trop.IoError) as raised:
        trop.Registry(locked / "data")
    assert raised.value.errno == errno.EACCES


def test_a_second_copy_of_sqlite_in_the_process_is_refused() -> None:
    with trop.Registry() as registry:
        held = registry.reserve()
    program = (
        "import os, sqlite3, trop\n"
        "first = sqlite3.connect(os.path.join(os.environ['TROP_DATA_DIR'], 'trop.db'))\n"
        "first.execute('SELECT * FROM metadata').fetchall()\n"
        "for call in (trop.Registry, trop.list):\n"
        "    try: call()\n"
        "    except trop.SecondCopyError as error: assert error.argument == 'data_dir', error.argument\n"
        "    else: raise SystemExit('opened')\n"
        "first.close()\n"
        "print(trop.list()[0].port)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert (ended.stdout, ended.stderr) == (f"{held.port}\n", "")
