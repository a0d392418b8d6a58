"""Threads and processes. Nothing here depends on how long anything takes."""

from __future__ import annotations

import collections
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import trop
from calls import changing, make_project, reading

Lock = Callable[[], AbstractContextManager[Callable[[], None]]]

METHODS = multiprocessing.get_all_start_methods()

# Python 3.12 and newer warn about every fork of a process with threads.
forks = pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")


@pytest.mark.parametrize("owner", ["registry", "module"])
@pytest.mark.parametrize("number", range(10))
def test_other_threads_run_while_a_call_waits_for_the_lock(
    data_dir: Path, write_lock: Lock, owner: str, number: int
) -> None:
    make_project()
    registry: Any = trop.Registry(data_dir) if owner == "registry" else trop
    call = changing(registry)[number]
    call()
    entering = threading.Event()

    def wait_for_the_lock() -> None:
        entering.set()
        call()

    # A thread keeps the GIL until it gives it away: the call has begun when the main thread goes on.
    interval = sys.getswitchinterval()
    with write_lock() as unlock, ThreadPoolExecutor(1) as threads:
        sys.setswitchinterval(1000)
        try:
            waiting = threads.submit(wait_for_the_lock)
            entering.wait()
            # Were the GIL held, nobody could unlock, and the call would end as BusyError.
            unlock()
            waiting.result()
        finally:
            sys.setswitchinterval(interval)


def test_readers_and_dry_runs_do_not_wait_for_the_lock(data_dir: Path, write_lock: Lock) -> None:
    make_project()
    with trop.Registry(data_dir, busy_timeout=0) as registry:
        registry.reserve("/a")
        with write_lock():
            for call in changing(registry):
                with pytest.raises(trop.BusyError):
                    call()
            for call in reading(registry):
                call()


def test_threads_make_every_call_at_once(data_dir: Path) -> None:
    make_project()
    with trop.Registry(data_dir, ports=(26000, 26099)) as registry:
        calls = changing(registry) + reading(registry)
        barrier = threading.Barrier(8)

        def work(number: int) -> None:
            barrier.wait()
            for call in calls[number:] + calls[:number]:
                call()

        with ThreadPoolExecutor(8) as threads:
            for worker in [threads.submit(work, number) for number in range(8)]:
                worker.result()
        registry.validate_database()


def test_threads_share_a_registry(registry: trop.Registry) -> None:
    barrier = threading.Barrier(8)

    def work(number: int) -> list[int]:
        barrier.wait()
        ports = [registry.reserve("/own", f"{number}-{i}").port for i in range(20)]
        shared = [registry.reserve("/shared", str(i)).port for i in range(20)]
        for i in range(0, 20, 2):
            assert registry.release("/own", f"{number}-{i}") == 1
        return ports[1::2] + shared

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(work, range(8)))
    assert len({tuple(ports[10:]) for ports in results}) == 1
    held = [reservation.port for reservation in registry.list()]
    assert len(held) == len(set(held)) == 8 * 10 + 20
    assert set(held) == set().union(*results)


def test_closing_under_other_threads_is_a_typed_error(data_dir: Path) -> None:
    barrier = threading.Barrier(5)
    registry = trop.Registry(data_dir, ports=(26000, 27999))

    def work(number: int) -> None:
        barrier.wait()
        calls = iter(lambda: registry.reserve("/x", str(number)), None)
        with pytest.raises(trop.ClosedError):
            collections.deque(calls, maxlen=0)

    with ThreadPoolExecutor(4) as threads:
        workers = [threads.submit(work, number) for number in range(4)]
        barrier.wait()
        registry.close()
        for worker in workers:
            worker.result()


inherited: trop.Registry | None = None


def reserve_in_child(data_dir: str, number: int, barrier: Any, results: Any) -> None:
    """Also runs in new interpreters, where nothing is inherited."""
    registry = inherited or trop.Registry(data_dir, ports=(26000, 27999))
    barrier.wait()
    results.put([registry.reserve("/child", f"{number}-{i}") for i in range(10)])


@forks
@pytest.mark.parametrize("method", METHODS)
def test_a_registry_works_in_parent_and_children(
    registry: trop.Registry, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    before = registry.reserve("/parent", "before")
    monkeypatch.setattr(sys.modules[__name__], "inherited", registry)
    context = multiprocessing.get_context(method)
    barrier, results = context.Barrier(5), context.Queue()
    children = [
        context.Process(target=reserve_in_child, args=(str(registry.data_dir), number, barrier, results))
        for number in range(4)
    ]
    for child in children:
        child.start()
    barrier.wait()
    meanwhile = [registry.reserve("/parent", str(i)) for i in range(10)]
    reserved = [reservation for _ in children for reservation in results.get(timeout=50)]
    for child in children:
        child.join()
        assert child.exitcode == 0
    everything = {before, *meanwhile, *reserved}
    assert set(registry.list()) == everything
    assert len({reservation.port for reservation in everything}) == 51
    assert registry.reserve("/parent", "before").port == before.port


@forks
def test_every_call_works_in_a_child(data_dir: Path) -> None:
    make_project()
    with trop.Registry(data_dir, ports=(26000, 26019)) as registry:
        before = registry.reserve("/parent")
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for call in changing(registry) + reading(registry):
                    call()
                registry.reserve("/child")
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        # Pruned and reserved by the child.
        assert registry.find("/parent") is None
        assert registry.find("/child") is not None
        assert registry.reserve("/parent").created_at >= before.created_at
        registry.validate_database()


@forks
def test_forks_while_threads_work(registry: trop.Registry) -> None:
    stop = threading.Event()

    def work(number: int) -> int:
        count = 0
        while not stop.is_set():
            registry.reserve("/thread", f"{number}-{count % 50}")
            trop.reserve("/thread", f"shared-{number}")
            count += 1
        return count

    with ThreadPoolExecutor(3) as threads:
        workers = [threads.submit(work, number) for number in range(3)]
        try:
            for number in range(10):
                child = os.fork()
                if child == 0:
                    status = 1
                    try:
                        registry.reserve("/child", str(number))
                        trop.reserve("/child", f"shared-{number}")
                        status = 0
                    finally:
                        os._exit(status)
                assert os.waitpid(child, 0)[1] == 0
        finally:
            stop.set()
        assert all(worker.result() > 0 for worker in workers)
    tags = {held.tag for held in registry.list() if held.path == "/child"}
    assert tags == {str(number) for number in range(10)} | {f"shared-{number}" for number in range(10)}


def contend(data_dir: str, number: int, barrier: Any, results: Any) -> None:
    with trop.Registry(data_dir, ports=(26000, 26010), skip_occupancy_check=True) as registry:
        barrier.wait()
        try:
            # A directory that exists: an exhausted range is pruned.
            results.put(registry.reserve(Path(data_dir).parent, str(number)).port)
        except trop.ExhaustedError as error:
            results.put(error)


@forks
def test_twenty_contenders_for_eleven_ports(data_dir: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(20), context.Queue()
    contenders = [
        context.Process(target=contend, args=(str(data_dir), number, barrier, results))
        for number in range(20)
    ]
    for contender in contenders:
        contender.start()
    outcomes = [results.get(timeout=50) for _ in contenders]
    for contender in contenders:
        contender.join()
        assert contender.exitcode == 0
    assert sorted(port for port in outcomes if isinstance(port, int)) == [*range(26000, 26011)]
    assert sum(isinstance(error, trop.ExhaustedError) for error in outcomes) == 9
