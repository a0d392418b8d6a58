import http.client
import json

import pytest
import trop
from counters import CounterServer


def request(server: CounterServer, method: str, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    try:
        connection.request(method, path)
        count: int = json.load(connection.getresponse())["count"]
        return count
    finally:
        connection.close()


def test_a_counter_starts_at_zero(server: CounterServer) -> None:
    assert request(server, "GET", "/apples") == 0


@pytest.mark.parametrize("times", range(1, 9))
def test_posting_adds_one(server: CounterServer, times: int) -> None:
    counts = [request(server, "POST", "/apples") for _ in range(times)]
    assert counts == [*range(1, times + 1)]


def test_deleting_forgets(server: CounterServer) -> None:
    request(server, "POST", "/apples")
    assert request(server, "DELETE", "/apples") == 0


def test_counters_are_independent(server: CounterServer) -> None:
    request(server, "POST", "/apples")
    assert request(server, "GET", "/pears") == 0


def test_the_port_is_reserved_for_this_worker(
    server: CounterServer, trop_registry: trop.Registry, worker_id: str, pytestconfig: pytest.Config
) -> None:
    [held] = [held for held in trop_registry.list() if held.port == server.server_port]
    assert (held.path, held.tag) == (str(pytestconfig.rootpath), worker_id)
