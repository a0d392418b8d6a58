import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trop
from counters import CounterServer


@pytest.fixture(scope="session")
def port(trop_registry: trop.Registry, worker_id: str, pytestconfig: pytest.Config) -> Iterator[int]:
    """A port of this project for each xdist worker: never anybody else's, and the same in every run."""
    started = time.perf_counter()
    port = trop_registry.reserve(pytestconfig.rootpath, worker_id).port
    took = time.perf_counter() - started
    yield port
    if log := os.environ.get("TROP_DEMO_LOG"):  # Only for the demo of trop itself.
        with Path(log).open("a") as file:
            file.write(f"pytest\tPython\t{port}\t{took * 1000:.3f}\n")


@pytest.fixture
def server(port: int) -> Iterator[CounterServer]:
    """A fresh server for each test."""
    with CounterServer(port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
