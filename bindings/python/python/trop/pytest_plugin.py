"""The pytest plugin, active wherever trop is installed: leased ports as fixtures, reports about leases."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import pytest

import trop

from ._trop import _forgotten_ports, _lease_watchers

_REPORT = "trop_leases"
_BETWEEN = "(between the tests)"


class Ports(Protocol):
    """What the fixture `trop_ports` is."""

    def __call__(self, count: int = 1, *, contiguous: bool = False) -> list[int]: ...


@pytest.fixture(scope="session")
def trop_registry() -> Iterator[trop.Registry]:
    """The machine's port registry, open until the end of the session; each xdist worker opens its own."""
    with trop.Registry() as registry:
        yield registry


@pytest.fixture
def trop_lease(trop_registry: trop.Registry, request: pytest.FixtureRequest) -> Iterator[trop.Lease]:
    """A lease of a fresh port, closed after the test."""
    with trop_registry.lease(label=label(request)) as lease:
        yield lease


@pytest.fixture
def trop_port(trop_lease: trop.Lease) -> int:
    """A fresh port, which nobody else gets until the test has ended: that of `trop_lease`."""
    return trop_lease.port


@pytest.fixture
def trop_ports(trop_registry: trop.Registry, request: pytest.FixtureRequest) -> Iterator[Ports]:
    """Gives any number of fresh ports, which nobody else gets until the test has ended.

    `trop_ports(3)` returns a list of three, `trop_ports(3, contiguous=True)` of three neighbours.
    """
    with ExitStack() as taken:

        def ports(count: int = 1, *, contiguous: bool = False) -> list[int]:
            leases = trop_registry.lease_many(count, contiguous=contiguous, label=label(request))
            return [taken.enter_context(lease).port for lease in leases]

        yield ports


@pytest.fixture(scope="session")
def trop_session_port(trop_registry: trop.Registry, request: pytest.FixtureRequest) -> Iterator[int]:
    """A port for the session, which nobody else gets until its end; each xdist worker has its own."""
    with trop_registry.lease(label=label(request)) as lease:
        yield lease.port


def label(request: pytest.FixtureRequest) -> str:
    """The id of the test, as far as a label can have it; the worker's name in place of none."""
    if request.scope == "session":
        worker: dict[str, str] = getattr(request.config, "workerinput", {})
        return worker.get("workerid", "session")
    node: pytest.Item = request.node
    text = node.nodeid.replace("\0", "?").encode("utf-8", "replace")
    # Its end tells more than its beginning.
    return (text if len(text) <= 255 else b"..." + text[-252:]).decode("utf-8", "ignore").strip()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("trop", "port leases")
    group.addoption("--trop-report", action="store_true", help="show which test had which port")
    parser.addini(
        "trop_replace_port_fixtures",
        "whether unused_tcp_port, free_tcp_port, their UDP variants and their factories are leased ports",
        type="bool",
        default=False,
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Watcher(config), _Watcher.__name__)
    if config.getini("trop_replace_port_fixtures"):
        # Imported after other plugins, so that its fixtures override theirs.
        config.pluginmanager.import_plugin("trop._port_fixtures")


class _Watcher:
    """Sees every port that this process is given, and tells at the end which test took it."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.test = _BETWEEN
        self.taken: list[tuple[str, int, weakref.ref[trop.Lease] | None]] = []
        # Filled in the process that reports, for all xdist workers.
        self.ports: dict[str, list[int]] = {}
        self.leaked: list[tuple[str, int]] = []
        _lease_watchers.append(self.saw)

    def saw(self, port: int, lease: trop.Lease | None) -> None:
        self.taken.append((self.test, port, lease and weakref.ref(lease)))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.test = nodeid

    def pytest_runtest_logfinish(self) -> None:
        self.test = _BETWEEN

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Runs last, when the fixtures of the session have closed their leases."""
        taken = [(test, port) for test, port, _ in self.taken]
        leaked = self.open()
        if hasattr(self.config, "workeroutput"):
            self.config.workeroutput[_REPORT] = (taken, leaked)
        else:
            self.add(taken, leaked)

    def open(self) -> list[tuple[str, int]]:
        """The leases that nobody closed; bare numbers are meant to last."""
        # The last to take a port is the one that has it now.
        collected = {port: test for test, port, lease in self.taken if lease and lease() is None}
        leaked = [(collected[port], port) for port in {*_forgotten_ports()} if port in collected]
        for test, port, lease in self.taken:
            if lease and (alive := lease()) and not alive.closed:
                leaked.append((test, port))
        return leaked

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """An xdist worker has ended; one that crashed tells nothing."""
        self.add(*getattr(node, "workeroutput", {}).get(_REPORT, ((), ())))

    def add(self, taken: Any, leaked: Any) -> None:
        for test, port in taken:
            self.ports.setdefault(test, []).append(port)
        self.leaked += leaked

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.config.getoption("trop_report"):
            terminalreporter.section("ports of the tests")
            for test, ports in sorted(self.ports.items()):
                terminalreporter.write_line(f"{test}: {' '.join(map(str, ports))}")
        if self.leaked:
            terminalreporter.section("leases that no test closed", yellow=True)
            for test, port in sorted(self.leaked):
                terminalreporter.write_line(f"{test}: port {port} was leased until the end of the session")

    def pytest_unconfigure(self) -> None:
        _lease_watchers.remove(self.saw)
