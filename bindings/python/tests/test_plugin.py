"""The pytest plugin, in runs of pytest of its own."""

from __future__ import annotations

import json
import socket
from collections import Counter
from pathlib import Path

import pytest
import trop


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider", *arguments)


def test_the_registry_is_that_of_the_machine(pytester: pytest.Pytester, data_dir: Path) -> None:
    pytester.makepyfile(
        test_it=f"""
        import trop

        kept = []

        def test_it_is_open(trop_registry):
            kept.append(trop_registry)
            assert isinstance(trop_registry, trop.Registry)
            assert str(trop_registry.data_dir) == {str(data_dir)!r}
            trop_registry.reserve("/plugin", "web")

        def test_it_is_the_same_for_the_session(trop_registry):
            assert kept == [trop_registry]
            assert not trop_registry.closed
        """
    )
    pytester.makeconftest(
        """
        def pytest_unconfigure(config):
            from test_it import kept
            assert kept[0].closed
        """
    )
    result = run(pytester)
    result.assert_outcomes(passed=2)
    assert result.ret == 0
    assert [held.tag for held in trop.list()] == ["web"]


def test_the_plugin_alone_opens_nothing_and_says_nothing(pytester: pytest.Pytester, data_dir: Path) -> None:
    pytester.makepyfile("def test_nothing(): pass")
    result = run(pytester)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines("plugins:*trop-ports*")
    result.stdout.no_fnmatch_line("*lease*")
    assert not data_dir.exists()
    fixtures = run(pytester, "--fixtures").stdout
    for name, scope in (
        ("trop_registry", " [[]session scope[]]"),
        ("trop_lease", ""),
        ("trop_port", ""),
        ("trop_ports", ""),
        ("trop_session_port", " [[]session scope[]]"),
    ):
        fixtures.fnmatch_lines(f"{name}{scope} -- *")


def test_ports_are_fresh_and_end_with_their_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_it="""
        import gc
        import trop

        seen = {}

        def own(trop_registry):
            return {info.port: info.label for info in trop_registry.own_leases()}

        def test_first(trop_registry, trop_port, trop_lease, trop_ports, trop_session_port):
            assert type(trop_port) is type(trop_session_port) is int
            assert trop_port == trop_lease.port
            assert len(trop_ports()) == 1
            several = trop_ports(3, contiguous=True)
            assert several == [*range(several[0], several[0] + 3)]
            del trop_lease
            gc.collect()
            held = own(trop_registry)
            assert held.pop(trop_session_port) == "session"
            assert len(held) == 5
            assert set(held.values()) == {"test_it.py::test_first"}
            seen.update(session=trop_session_port)

        def test_second(trop_registry, trop_port, trop_session_port):
            assert trop_session_port == seen["session"]
            assert own(trop_registry) == {
                trop_port: "test_it.py::test_second", trop_session_port: "session"
            }
        """
    )
    result = run(pytester)
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*leases that no test closed*")
    assert trop.leases() == []


def test_a_label_is_what_fits_of_the_id(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("text", ["x" * 300, "é" * 300, "a b", " ", "\\0"], ids=str)
        def test_it(trop_lease, request, text):
            assert len(trop_lease.label.encode()) <= 255
            if len(request.node.nodeid) > 255:
                assert trop_lease.label.startswith("...")
            assert trop_lease.label[-30:] == request.node.nodeid[-30:]
        """
    )
    run(pytester).assert_outcomes(passed=5)


def test_what_an_early_end_leaves_to_the_session_is_no_leak(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        def test_it(trop_session_port, trop_port): pytest.exit("enough")
        """
    )
    result = run(pytester)
    result.stdout.fnmatch_lines("*Exit: enough*")
    result.stdout.no_fnmatch_line("*leases that no test closed*")


def test_leaks_are_reported_with_the_test_that_took_them(pytester: pytest.Pytester, data_dir: Path) -> None:
    pytester.makepyfile(
        test_it=f"""
        import pytest
        import trop

        kept = [trop.lease()]

        def test_leak(trop_port):
            kept.append(trop.lease())

        class TestMore:
            def test_another_registry(self):
                with trop.Registry() as registry:
                    kept.append(registry.lease())
                kept.append(trop.Registry({str(data_dir / "other")!r}, ports=(27998, 27998)).lease(
                    skip_occupancy_check=True))

        def test_clean(trop_ports):
            with trop.lease() as lease:
                kept.append(lease)
            trop.port()

        def test_forgotten():
            trop.lease()
            itself = [trop.lease()]
            itself.append(itself)
        """
    )
    pytester.makeconftest("import trop\ndef pytest_sessionfinish(session): session.kept = trop.lease()\n")
    for options in ((), ("-n", "1", "-p", "no:anyio")):
        result = run(pytester, "-v", "-W", "ignore:unclosed lease:ResourceWarning", *options)
        result.assert_outcomes(passed=4)
        lines = result.stdout.str().partition("leases that no test closed")[2].splitlines()
        told = sorted(line.partition(": port ")[0] for line in lines if ": port " in line)
        tests = ["test_it.py::TestMore::test_another_registry", *2 * ["test_it.py::test_forgotten"]]
        tests.append("test_it.py::test_leak")
        assert told[-4:] == tests
        # While they were collected, and at the end; with xdist at the end of its main process too.
        assert told[:-4] == ["(between the tests)"] * (3 if options else 2)
        result.stdout.fnmatch_lines(f"{tests[0]}: port 27998 was leased until the end of the session")


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_the_report_tells_which_test_had_which_port(
    pytester: pytest.Pytester, options: tuple[str, ...]
) -> None:
    pytester.makepyfile(
        test_it="""
        import json, pathlib, pytest, trop

        @pytest.mark.parametrize("number", range(4))
        def test_one(trop_port, trop_ports, number):
            ports = [trop_port, *trop_ports(2), trop.port()]
            pathlib.Path(f"{number}.json").write_text(json.dumps(ports))

        def test_none(): pass
        """
    )
    result = run(pytester, "--trop-report", *options)
    result.assert_outcomes(passed=5)
    for number in range(4):
        ports = json.loads((pytester.path / f"{number}.json").read_text())
        result.stdout.fnmatch_lines(f"test_it.py::test_one[[]{number}[]]: {' '.join(map(str, ports))}")
    result.stdout.no_fnmatch_line("*test_none:*")
    run(pytester, *options).stdout.no_fnmatch_line("*ports of the tests*")


NAMES = [f"{kind}_{protocol}_port" for kind in ("unused", "free") for protocol in ("tcp", "udp")]


def test_the_names_of_other_plugins_are_theirs_unless_asked_for(pytester: pytest.Pytester) -> None:
    fixtures = "".join(
        f"@pytest.fixture\ndef {name}(): return 0\n"
        f"@pytest.fixture(scope='session')\ndef {name}_factory(): return lambda: 0\n"
        for name in NAMES
    )
    pytester.makepyfile(another_plugin=f"import pytest\n{fixtures}")
    arguments = ", ".join(f"{name}, {name}_factory" for name in NAMES)
    pytester.makepyfile(
        test_it=f"""
        import pytest

        @pytest.fixture(scope="session")
        def early(unused_tcp_port_factory, free_udp_port_factory):
            return unused_tcp_port_factory(), free_udp_port_factory()

        def test_it(trop_registry, early, {arguments}):
            values = [{", ".join(NAMES)}, *early]
            for factory in [{", ".join(f"{name}_factory" for name in NAMES)}]:
                values += [factory(), factory()]
            leased = [info.port for info in trop_registry.own_leases()]
            assert values == [0] * 14 if not leased else sorted(values) == leased
            assert len(leased) in (0, 14)
            print("LEASED", len(leased))

        def test_the_next(trop_registry, {arguments}):
            print("LATER", len(trop_registry.own_leases()))
        """
    )
    result = run(pytester, "-s", "-p", "no:anyio", "-p", "another_plugin")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*LEASED 0", "*LATER 0"])
    pytester.makeini("[pytest]\ntrop_replace_port_fixtures = true\n")
    result = run(pytester, "-s", "-p", "another_plugin")
    result.assert_outcomes(passed=2)
    # What the factories gave lasts for the session.
    result.stdout.fnmatch_lines(["*LEASED 14", "*LATER 14"])


def test_a_conftest_has_the_last_word(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\ntrop_replace_port_fixtures = true\n")
    pytester.makeconftest("import pytest\n@pytest.fixture\ndef unused_tcp_port(): return 0\n")
    pytester.makepyfile(
        """
        def test_it(unused_tcp_port, free_tcp_port):
            assert unused_tcp_port == 0 != free_tcp_port
        """
    )
    run(pytester).assert_outcomes(passed=1)


def test_the_fixtures_of_anyio_are_replaced(pytester: pytest.Pytester) -> None:
    pytest.importorskip("anyio.pytest_plugin")
    pytester.makepyfile(
        """
        def test_it(free_tcp_port, free_tcp_port_factory, free_udp_port, trop_registry):
            ports = sorted([free_tcp_port, free_tcp_port_factory(), free_udp_port])
            print("TROP", ports == [info.port for info in trop_registry.own_leases()])
        """
    )
    for option in ("false", "true"):
        pytester.makeini(f"[pytest]\ntrop_replace_port_fixtures = {option}\n")
        result = run(pytester, "-s")
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(f"*TROP {option.title()}")


@pytest.mark.timeout(300)
def test_sixteen_workers_bind_what_they_get(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_it="""
        import pathlib, socket, pytest

        @pytest.fixture(scope="session")
        def session_server(trop_session_port):
            with socket.create_server(("127.0.0.1", trop_session_port)) as server:
                yield server

        @pytest.mark.parametrize("number", range(400))
        def test_it(session_server, trop_port, trop_ports, worker_id, number):
            # Bound as strictly as possible: nobody else may have it, not even without listening.
            with socket.socket() as server, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
                server.bind(("127.0.0.1", trop_port))
                server.listen()
                datagrams.bind(("127.0.0.1", *trop_ports()))
            with pathlib.Path(f"{worker_id}.txt").open("a") as file:
                print(session_server.getsockname()[1], file=file)
        """
    )
    result = run(pytester, "-q", "-n", "16")
    result.assert_outcomes(passed=400)
    used = [Counter(map(int, file.read_text().split())) for file in pytester.path.glob("gw*.txt")]
    assert all(len(ports) == 1 for ports in used)
    session_ports = [port for ports in used for port in ports]
    assert len(set(session_ports)) == len(session_ports)
    # All of them ended, and nothing is left.
    assert "alive" not in {info.state for info in trop.leases()}
    for port in session_ports:
        with socket.socket() as server:
            server.bind(("127.0.0.1", port))
