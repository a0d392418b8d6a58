import http.client
import json
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
import trop
from counters import CounterServer, serving
from trop.pytest_plugin import Ports

HERE = Path(__file__).parent


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
def test_posting_adds_one(shared_server: CounterServer, times: int) -> None:
    counts = [request(shared_server, "POST", f"/{times}") for _ in range(times)]
    assert counts == [*range(1, times + 1)]


def test_deleting_forgets(server: CounterServer) -> None:
    request(server, "POST", "/apples")
    assert request(server, "DELETE", "/apples") == 0


def test_counters_are_independent(server: CounterServer) -> None:
    request(server, "POST", "/apples")
    assert request(server, "GET", "/pears") == 0


def test_servers_share_nothing(trop_ports: Ports) -> None:
    first, second = trop_ports(2)
    with serving(first) as one, serving(second) as other:
        assert request(one, "POST", "/apples") == 1
        assert request(other, "GET", "/apples") == 0


def test_a_program_is_waited_for(trop_lease: trop.Lease) -> None:
    with subprocess.Popen([sys.executable, "counters.py", str(trop_lease.port)], cwd=HERE) as program:
        trop_lease.wait_listening(timeout=60)
        with urlopen(f"http://127.0.0.1:{trop_lease.port}/apples", timeout=10) as answer:
            assert json.load(answer) == {"count": 0}
        program.terminate()


def test_the_registry_knows_whose_the_ports_are(
    server: CounterServer,
    shared_server: CounterServer,
    trop_registry: trop.Registry,
    request: pytest.FixtureRequest,
) -> None:
    lease = trop_registry.explain(server.server_port).lease
    assert lease is not None
    assert lease.label == request.node.nodeid
    held = trop_registry.find_port(shared_server.server_port)
    assert held is not None
    assert held.path == str(request.config.rootpath)
