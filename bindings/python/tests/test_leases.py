"""Leases: ports that live as long as whoever took them."""

from __future__ import annotations

import copy
import errno
import gc
import multiprocessing
import operator
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import trop

PORTS = (26000, 27999)

Lock = Callable[[], AbstractContextManager[Callable[[], None]]]

# Python 3.12 and newer warn about every fork of a process with threads.
forks = pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")

# Neither opens anything nor probes what other programs might have bound meanwhile.
QUIET = {"skip_occupancy_check": True}

FIVE: Any = {"min": 26000, "max": 26004, **QUIET}


def test_a_lease_is_an_integer_wherever_one_is_asked_for(registry: trop.Registry) -> None:
    lease = registry.lease(label=" web ")
    assert int(lease) == operator.index(lease) == lease.port
    assert f"{lease}" == str(lease) == str(lease.port)
    assert f"{lease:>8}|{lease:x}|{lease:d}" == f"{lease.port:>8}|{lease.port:x}|{lease.port}"
    with pytest.raises(ValueError, match="format"):
        format(lease, "y")
    assert (lease.label, lease.closed) == ("web", False)
    assert repr(lease) == f"<trop.Lease {lease.port} 'web', open>"
    other = registry.lease(port=lease)
    assert other.port != lease.port
    assert repr(other) == f"<trop.Lease {other.port}, open>"
    assert lease != other
    for name in ("port", "label", "closed", "anything"):
        with pytest.raises(AttributeError):
            setattr(lease, name, 1)
    with pytest.raises(TypeError):
        trop.Lease()


def test_a_lease_is_never_given_twice(registry: trop.Registry) -> None:
    reserved = registry.reserve("/a")
    leases = [registry.lease() for _ in range(10)] + registry.lease_many(10)
    later = registry.reserve("/b")
    with trop.Registry(registry.data_dir, ports=PORTS) as another:
        leases += [another.lease(port=leases[0])]
        assert len({*map(int, leases), reserved.port, later.port}) == 23


def test_the_block_ends_the_lease(registry: trop.Registry) -> None:
    with registry.lease(**QUIET) as lease:
        assert not lease.closed
        assert registry.find_port(lease) is None
        assert [info.port for info in registry.own_leases()] == [lease.port]
    assert lease.closed
    assert repr(lease) == f"<trop.Lease {lease.port}, closed>"
    assert registry.own_leases() == registry.leases() == []
    with lease:
        lease.close()
    with pytest.raises(KeyError), registry.lease(**QUIET) as lease:
        raise KeyError
    assert lease.closed
    assert registry.lease(port=lease, **QUIET).port == lease.port


# People keep numbers, not handles


@pytest.mark.parametrize("in_a_circle", [False, True])
def test_a_collected_lease_warns_and_goes_on(registry: trop.Registry, in_a_circle: bool) -> None:
    def forget() -> None:
        leases: list[object] = [registry.lease()]
        if in_a_circle:
            leases.append(leases)
        del leases
        gc.collect()

    with pytest.warns(ResourceWarning, match=r"unclosed lease of port 2\d+: it lasts until") as warned:
        forget()
    [port] = [info.port for info in registry.own_leases()]
    assert str(port) in str(warned[0].message)
    registry.close()
    assert trop.leases() == []


def test_only_an_open_lease_warns(data_dir: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with trop.Registry(data_dir) as registry, registry.lease():
            registry.lease().close()
            released, left = registry.lease(), registry.lease()
            registry.release_port(released)
        del released, left
        gc.collect()


def test_a_warning_as_an_error_replaces_no_other_one(
    registry: trop.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        lease = registry.lease()
        raise KeyError(lease.port)

    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        with suppress(KeyError):
            fail()
        gc.collect()
    assert [told.exc_type for told in unraisable] == [ResourceWarning]


def test_numbers_last_without_lease_and_registry() -> None:
    program = (
        "import gc, trop\n"
        "ports = []\n"
        "for count in range(300):\n"
        "    opened = trop.Registry(skip_occupancy_check=True)\n"
        "    ports.append(opened.lease().port if count % 2 else opened.port())\n"
        "    count % 50 or gc.collect()\n"
        "assert len(set(ports)) == 300\n"
        "leases = [(info.port, info.state) for info in trop.leases()]\n"
        "assert leases == [(port, 'alive') for port in sorted(ports)], leases\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_of_more_than_256_the_oldest_end() -> None:
    program = (
        "import gc, trop\n"
        "ports = trop.ports(20, max=26099)\n"
        "forgotten = []\n"
        "for count in range(300):\n"
        "    forgotten.append(trop.lease(skip_occupancy_check=True).port)\n"
        "    count % 50 or gc.collect()\n"
        "assert len({*forgotten, *ports}) == 320\n"
        "left = {info.port for info in trop.own_leases()}\n"
        "assert left == {*ports, *forgotten[44:]}, left\n"
        "assert {info.port for info in trop.leases() if info.state == 'alive'} == left\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("take", [lambda: trop.lease(**FIVE).port, lambda: trop.port(**FIVE)])
def test_five_numbers_of_five(take: Callable[[], int]) -> None:
    assert {take() for _ in range(5)} == {*range(26000, 26005)}
    for again in (take, lambda: trop.port(**FIVE)):
        with pytest.raises(trop.ExhaustedError):
            again()


def test_bare_numbers(registry: trop.Registry) -> None:
    port = registry.port(port=26700, label="kept", **QUIET)
    assert (type(port), port) == (int, 26700)
    assert registry.ports(3, contiguous=True, port=26710, **QUIET) == [26710, 26711, 26712]
    assert (trop.leases()[0].port, trop.leases()[0].label) == (port, "kept")
    assert registry.release_port(port)
    assert registry.port(port=port, **QUIET) == port
    registry.close()
    assert trop.leases() == []


def test_a_lease_keeps_its_registry(data_dir: Path) -> None:
    lease = trop.Registry(data_dir, ports=PORTS).lease()
    gc.collect()
    assert not lease.closed
    assert [info.port for info in trop.leases()] == [lease.port]


def test_many_or_none(registry: trop.Registry) -> None:
    ports = {"min": 26000, "max": 26009, **QUIET}
    leases = registry.lease_many(4, port=26005, label="x", **ports)
    assert [lease.port for lease in leases] == [26005, 26000, 26001, 26002]
    neighbours = registry.lease_many(4, contiguous=True, **ports)
    assert [lease.port for lease in neighbours] == [26006, 26007, 26008, 26009]
    for options in ({}, {"contiguous": True}):
        with pytest.raises(trop.ExhaustedError):
            registry.lease_many(3, **options, **ports)
    assert len(registry.leases()) == 8
    assert {lease.label for lease in leases} == {"x"}


@pytest.mark.parametrize("count", [0, 11, -1, 2**32, 2**64])
def test_a_count_that_is_impossible(registry: trop.Registry, count: int) -> None:
    with pytest.raises(trop.InvalidArgumentError) as raised:
        registry.lease_many(count, min=26000, max=26009)
    assert raised.value.argument == "count"
    assert registry.leases() == []


def test_an_ended_lease_can_be_used_no_more(registry: trop.Registry) -> None:
    closed, orphan = registry.lease(), registry.lease()
    closed.close()
    registry.close()
    registry.close()
    for lease in (closed, orphan):
        assert lease.closed
        for call in (lease.listen, lease.bind, lease.wait_listening):
            with pytest.raises(trop.ClosedError, match=str(lease.port)) as raised:
                call()
            assert (raised.value.code, raised.value.number) == ("TROP_CLOSED", -14)
        lease.close()


def test_a_lease_stays_in_its_process(registry: trop.Registry) -> None:
    lease = registry.lease()
    for send in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="it belongs to the process that took it"):
            send(lease)


def test_looking_at_leases(registry: trop.Registry) -> None:
    before = datetime.now(timezone.utc) - timedelta(seconds=1)
    lease = registry.lease(label="web", **QUIET)
    with trop.Registry(registry.data_dir, ports=PORTS) as another:
        foreign = another.lease(**QUIET)
        mine, others = sorted(registry.leases(), key=lambda info: info.port != lease.port)
        assert registry.own_leases() == [mine]
        assert another.own_leases() == [others]
        assert (mine.port, mine.label, mine.state, mine.pid) == (lease.port, "web", "alive", os.getpid())
        assert (mine.directory, others.label) == (str(Path.cwd()), None)
        assert mine.command is not None
        assert "python" in mine.command
        assert before <= mine.since <= datetime.now(timezone.utc)
        assert pickle.loads(pickle.dumps(mine)) == mine
        with pytest.raises(trop.ConflictError, match=str(os.getpid())) as raised:
            registry.release_port(foreign)
        assert (raised.value.code, raised.value.argument) == ("TROP_CONFLICT", "port")
        assert registry.release_port(foreign, force=True, dry_run=True)
        assert registry.leases() == [mine, others]
        assert registry.release_port(foreign, force=True)
    assert registry.release_port(lease, dry_run=True)
    assert not lease.closed
    assert registry.release_port(lease)
    assert lease.closed
    assert not registry.release_port(lease, force=True)
    assert registry.leases() == []


def test_explaining_a_port(registry: trop.Registry) -> None:
    held = registry.reserve("/a", "web")
    said = registry.explain(held)
    assert (said.port, said.reservation, said.lease) == (held.port, held, None)
    assert (said.occupied, said.process_id, said.in_range, said.excluded) == (False, None, True, False)
    assert "is reserved for '/a'" in str(said) == said.text
    lease = registry.lease(label="db")
    with lease.listen():
        said = registry.explain(lease)
        assert [said.lease] == registry.own_leases()
        assert said.occupied
        if sys.platform == "linux":
            assert said.process_id == os.getpid()
        assert "is leased for 'db'" in str(said)
    nothing = registry.explain(1)
    assert (nothing.reservation, nothing.lease, nothing.in_range) == (None, None, False)


def test_the_leases_of_the_module_are_those_of_the_machine(data_dir: Path) -> None:
    with trop.lease() as lease:
        assert [info.port for info in trop.own_leases()] == [lease.port]
        with trop.Registry(data_dir) as registry:
            assert registry.leases() == trop.leases()
            assert registry.own_leases() == []
    assert trop.leases() == []


# Sockets


def test_a_socket_that_listens(registry: trop.Registry) -> None:
    lease = registry.lease()
    for host in (None, "localhost"):
        with lease.listen(host, 1) if host else lease.listen() as server:
            assert (type(server), server.family, server.type) == (
                socket.socket,
                socket.AF_INET,
                socket.SOCK_STREAM,
            )
            assert server.getsockname() == ("127.0.0.1", lease.port)
            assert not server.get_inheritable()
            assert server.gettimeout() is None
            with socket.create_connection(("127.0.0.1", lease.port)) as client, server.accept()[0] as served:
                client.sendall(b"x")
                assert served.recv(1) == b"x"
            with pytest.raises(trop.IoError) as raised:
                lease.listen()
            assert isinstance(raised.value, OSError)
            assert raised.value.errno == errno.EADDRINUSE
        assert not lease.closed


def test_a_socket_is_independent_of_its_lease(registry: trop.Registry) -> None:
    with registry.lease() as lease:
        server = lease.listen()
    with server, socket.create_connection(("127.0.0.1", lease.port)):
        assert registry.lease(port=lease).port != lease.port


def test_sockets_that_are_bound(registry: trop.Registry) -> None:
    lease = registry.lease()
    with lease.bind() as tcp, lease.bind("udp") as udp:
        assert (tcp.type, udp.type) == (socket.SOCK_STREAM, socket.SOCK_DGRAM)
        assert tcp.getsockname() == udp.getsockname() == ("127.0.0.1", lease.port)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", lease.port))
        udp.sendto(b"x", udp.getsockname())
        assert udp.recv(1) == b"x"


@pytest.mark.skipif(sys.platform != "linux", reason="ports are held on Linux only")
def test_a_held_port_is_bound_until_the_lease_ends(registry: trop.Registry) -> None:
    def bind() -> None:
        with socket.socket() as stranger:
            stranger.bind(("127.0.0.1", lease.port))

    with registry.lease(hold=True) as lease:
        with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
            bind()
        with lease.listen(), socket.create_connection(("127.0.0.1", lease.port)):
            pass
    lease = registry.lease(hold=True)
    lease.close()
    bind()


def test_waiting_until_something_listens(registry: trop.Registry) -> None:
    lease = registry.lease()
    entering = threading.Event()

    def listen() -> socket.socket:
        entering.wait()
        return lease.listen()

    with ThreadPoolExecutor(1) as threads:
        server = threads.submit(listen)
        entering.set()
        lease.wait_listening(50)
        server.result().close()
    with pytest.raises(trop.NotListeningError, match=f"{lease.port} within 0.05 s") as raised:
        lease.wait_listening(0.05)
    assert isinstance(raised.value, TimeoutError)
    assert (raised.value.code, raised.value.number) == ("TROP_NOT_LISTENING", -15)


def test_waiting_for_a_program_that_was_started(registry: trop.Registry) -> None:
    lease = registry.lease()
    with subprocess.Popen(
        [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(lease.port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            lease.wait_listening(50)
            socket.create_connection(("127.0.0.1", lease.port)).close()
        finally:
            server.kill()


def test_a_signal_ends_the_wait(registry: trop.Registry) -> None:
    class Interrupt(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupt

    former = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(Interrupt):
            registry.lease().wait_listening(1000)
    finally:
        signal.signal(signal.SIGALRM, former)


# A busy database


def test_nothing_waits_where_nobody_asked_to(data_dir: Path, write_lock: Lock) -> None:
    # Were each of them to wait, the test would time out.
    with trop.Registry(data_dir, ports=PORTS, busy_timeout=30) as registry:
        block, closed = registry.lease(**QUIET), registry.lease(**QUIET)
        ports = [block.port, closed.port]
        with write_lock():
            with block:
                pass
            closed.close()
            closed.close()
            assert block.closed
            assert closed.closed
        again = [registry.lease(port=port, **QUIET) for port in ports]
        assert [lease.port for lease in again] == ports
        with write_lock():
            registry.close()
        assert all(lease.closed for lease in again)
    with trop.Registry(data_dir, ports=PORTS) as registry:
        assert [registry.lease(port=port, **QUIET).port for port in ports] == ports


# Threads and processes


def test_threads_take_and_bind(registry: trop.Registry) -> None:
    barrier = threading.Barrier(8)

    def work(_: int) -> list[int]:
        barrier.wait()
        with ExitStack() as kept:
            leases = [kept.enter_context(registry.lease()) for _ in range(10)]
            for lease in leases:
                kept.enter_context(lease.listen())
            barrier.wait()
            return [lease.port for lease in leases]

    with ThreadPoolExecutor(8) as threads:
        ports = [port for taken in threads.map(work, range(8)) for port in taken]
    assert len(set(ports)) == 80
    assert registry.own_leases() == []
    # What the others were too busy for is done by the next call.
    registry.lease().close()
    assert registry.leases() == []


def lease_in_child(data_dir: str, barrier: Any, results: Any) -> None:
    """Also runs in new interpreters."""
    with trop.Registry(data_dir, ports=PORTS) as registry:
        barrier.wait()
        leases = registry.lease_many(5)
        for lease in leases:
            lease.listen().close()
        results.put([lease.port for lease in leases])
        barrier.wait()
        # Ended by the end of the process, however it comes about.
        os.kill(os.getpid(), signal.SIGKILL)


@forks
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_processes_take_leases_and_are_killed(registry: trop.Registry, method: str) -> None:
    own = registry.lease()
    context = multiprocessing.get_context(method)
    # Results are sent by a thread of the child, which is to be done when it is killed.
    barrier, results = context.Barrier(4), context.SimpleQueue()
    children = [
        context.Process(target=lease_in_child, args=(str(registry.data_dir), barrier, results))
        for _ in range(3)
    ]
    for child in children:
        child.start()
    barrier.wait()
    taken = [port for _ in children for port in results.get()]
    infos = registry.leases()
    assert {info.pid for info in infos} == {os.getpid(), *(child.pid for child in children)}
    assert sorted(info.port for info in infos) == sorted([own.port, *taken])
    barrier.wait()
    for child in children:
        child.join()
        assert child.exitcode == -signal.SIGKILL
    assert {info.state for info in registry.leases() if info.port != own.port} == {"ended"}
    # The first request has them again.
    again = registry.lease_many(15, min=min(taken), max=max(taken), **QUIET)
    assert {lease.port for lease in again} == set(taken)
    assert not [*registry.data_dir.glob("owner-*")][1:]


@forks
def test_a_forked_child_leaves_the_leases_alone(registry: trop.Registry) -> None:
    lease, collected = registry.lease(), registry.lease()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert not lease.closed
            with lease:
                lease.close()
            del collected
            gc.collect()
            lease.listen().close()
            with registry.lease() as own:
                assert [info.port for info in registry.own_leases()] == [own.port]
            registry.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert [info.port for info in registry.own_leases()] == [lease.port, collected.port]
    assert {info.state for info in registry.leases()} == {"alive"}
    lease.close()
    assert [info.port for info in registry.leases()] == [collected.port]


def test_a_lease_lasts_as_long_as_a_child_of_its_process(registry: trop.Registry) -> None:
    program = (
        "import os, sys, warnings, trop\n"
        "warnings.simplefilter('ignore')\n"
        "lease = trop.lease(min=26000, max=27999)\n"
        "if os.fork() == 0:\n"
        "    sys.stdin.read()\n"
        "    os._exit(0)\n"
        "print(lease.port, flush=True)\n"
        "os._exit(0)\n"
    )
    arguments = [sys.executable, "-c", program]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        assert parent.wait() == 0
        assert [(info.port, info.state) for info in registry.leases()] == [(port, "alive")]
        with registry.lease(port=port, **QUIET) as other:
            assert other.port != port
        parent.stdin.close()
        # Closed when the child has ended.
        assert parent.stdout.read() == ""
    # Its output has ended, and its lock does so in the same moment.
    while registry.leases()[0].state == "alive":
        pass
    assert registry.lease(port=port, **QUIET).port == port


def test_a_program_ends_in_silence_in_development_mode(registry: trop.Registry) -> None:
    program = (
        "import threading, trop\n"
        "kept = trop.lease()\n"
        "registry = trop.Registry()\n"
        "several = registry.lease_many(3, label='x')\n"
        "several.append(several)\n"
        "threading.Thread(target=lambda: kept.listen().close()).start()\n"
        "class Last:\n"
        "    def __del__(self): trop.lease(); kept.close(); several[0].close()\n"
        "last = Last()\n"
    )
    arguments = [sys.executable, "-X", "dev", "-W", "error", "-c", program]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert "alive" not in {info.state for info in registry.leases()}


def test_a_lease_is_text_where_text_is_asked_for(registry: trop.Registry) -> None:
    lease = registry.lease(**QUIET)
    digits = str(lease.port)
    assert [
        f"{lease}",
        f"{lease:s}",
        f"{lease:d}",
        f"{lease:>8}",
        f"{lease:>8s}",
    ] == [
        digits,
        digits,
        digits,
        digits.rjust(8),
        digits.rjust(8),
    ]


def test_a_program_that_changes_its_directory_is_one_owner(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TROP_DATA_DIR", str(data_dir))
    numbers = set()
    for number in range(20):
        place = tmp_path / str(number)
        place.mkdir()
        monkeypatch.chdir(place)
        numbers.add(trop.port(min=PORTS[0], max=PORTS[1], **QUIET))
    assert len(numbers) == 20
    assert len([*data_dir.glob("owner-*")]) == 1
