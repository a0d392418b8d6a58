"""What users write, for the type checker; never run."""

from __future__ import annotations

import builtins
from datetime import datetime
from pathlib import Path

import pytest
import trop
from typing_extensions import assert_type


def use_the_module() -> int:
    reservation = trop.reserve(Path("a"), "web", port=5000, min=5000, max=6000, allow_unrelated_path=False)
    assert_type(reservation, trop.Reservation)
    assert_type(reservation.port, int)
    assert_type(reservation.tag, str | None)
    assert_type(reservation.created_at, datetime)
    assert_type(reservation.refusal == "occupied", bool)
    trop.reserve(tag="other", port=reservation)
    reservation.port = 1  # type: ignore[misc]
    trop.reserve("a", "web", 5000)  # type: ignore[call-arg]
    trop.reserve(b"a")  # type: ignore[arg-type]
    trop.reserve(port="5000")  # type: ignore[arg-type]
    trop.Reservation(5000)  # type: ignore[call-arg]
    assert_type(trop.list(), builtins.list[trop.Reservation])
    assert_type(trop.__version__, str)
    return trop.release(untagged_only=True) + int(reservation)


def use_a_registry() -> None:
    with trop.Registry("data", ports=(5000, 6000), excluded=[1, "2..3"], busy_timeout=1) as registry:
        assert_type(registry, trop.Registry)
        assert_type(registry.list()[0].port, int)
        assert_type(registry.data_dir, Path)
        assert_type(registry.closed, bool)
        registry.reserve(tag="web")
    trop.Registry(excluded="5000, 5002", skip_tcp=True, create=False)
    trop.Registry(None, (1, 2))  # type: ignore[call-arg]
    trop.Registry(timeout=1)  # type: ignore[call-arg]


def use_errors() -> None:
    try:
        trop.reserve()
    except trop.IoError as error:
        assert_type(error.errno, int | None)
    except trop.Error as error:
        assert_type(error.code, str)
        assert_type(error.number, int)
        assert_type(error.argument, str | None)


@pytest.fixture
def port(trop_registry: trop.Registry) -> int:
    return trop_registry.reserve().port
