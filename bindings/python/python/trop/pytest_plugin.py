"""The pytest plugin, active wherever trop is installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import trop


@pytest.fixture(scope="session")
def trop_registry() -> Iterator[trop.Registry]:
    """The machine's port registry, open until the end of the session; each xdist worker opens its own."""
    with trop.Registry() as registry:
        yield registry
