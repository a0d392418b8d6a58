"""Leased ports under the names that the fixtures of pytest-asyncio and anyio have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

import trop

from .pytest_plugin import label


def _port(name: str) -> object:
    @pytest.fixture(name=name)
    def port(trop_registry: trop.Registry, request: pytest.FixtureRequest) -> Iterator[int]:
        """A fresh port, which nobody else gets until the test has ended (trop)."""
        with trop_registry.lease(label=label(request)) as lease:
            yield lease.port

    return port


def _factory(name: str) -> object:
    @pytest.fixture(scope="session", name=name)
    def factory(trop_registry: trop.Registry, request: pytest.FixtureRequest) -> Iterator[Callable[[], int]]:
        """Gives a fresh port with each call, which nobody else gets until the session has ended (trop)."""
        with ExitStack() as taken:
            yield lambda: taken.enter_context(trop_registry.lease(label=label(request))).port

    return factory


unused_tcp_port = _port("unused_tcp_port")
unused_udp_port = _port("unused_udp_port")
free_tcp_port = _port("free_tcp_port")
free_udp_port = _port("free_udp_port")
unused_tcp_port_factory = _factory("unused_tcp_port_factory")
unused_udp_port_factory = _factory("unused_udp_port_factory")
free_tcp_port_factory = _factory("free_tcp_port_factory")
free_udp_port_factory = _factory("free_udp_port_factory")
