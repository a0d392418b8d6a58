import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trop
from counters import CounterServer, serving


@pytest.fixture
def server(trop_port: int) -> Iterator[CounterServer]:
    """A fresh server for each test, on a port that is the test's as long as it runs."""
    with serving(trop_port) as server:
        yield server


@pytest.fixture(scope="session")
def port(trop_registry: trop.Registry, worker_id: str, pytestconfig: pytest.Config) -> Iterator[int]:
    """A port of this checkout for each xdist worker: never anybody else's, and the same in every run."""
    started = time.perf_counter()
    port = trop_registry.reserve(pytestconfig.rootpath, worker_id).port
    took = time.perf_counter() - started
    yield port
    if log := os.environ.get("TROP_DEMO_LOG"):  # Only for the demo of trop itself.
        with Path(log).open("a") as file:
            file.write(f"pytest\tPython\t{port}\t{took * 1000:.3f}\n")


@pytest.fixture(scope="session")
def shared_server(port: int) -> Iterator[CounterServer]:
    """One server for all tests of a worker, where a browser or a debugger finds it in every run."""
    with serving(port) as server:
        yield server
