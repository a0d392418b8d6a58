from __future__ import annotations

import copy
import gc
import inspect
import multiprocessing
import operator
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import trop
from calls import changing, make_project, reading


def test_reserving_again_returns_the_same_port(registry: trop.Registry) -> None:
    first = registry.reserve("/srv/shop", "web")
    again = registry.reserve("/srv/shop", "web", port=27999)
    assert (first.created, again.created) == (True, False)
    assert first.port == again.port
    assert again.refusal is None
    assert registry.reserve("/srv/shop").port != first.port
    assert registry.reserve("/srv/shop", "api").port != first.port


def test_a_reservation_says_what_the_registry_holds(registry: trop.Registry) -> None:
    before = datetime.now(timezone.utc) - timedelta(seconds=1)
    held = registry.reserve("shop/./web", " blue ")
    assert held.path == str(Path.cwd() / "shop/web")
    assert (held.tag, held.project, held.task, held.refusal) == ("blue", None, None, None)
    assert before <= held.created_at <= held.last_used_at <= datetime.now(timezone.utc)
    assert held.created_at.utcoffset() == timedelta(0)
    assert [held] == registry.list()


def test_a_reservation_is_an_integer_wherever_one_is_asked_for(registry: trop.Registry) -> None:
    held = registry.reserve()
    assert int(held) == operator.index(held) == held.port
    with socket.socket() as server:
        server.bind(("127.0.0.1", held.port))
        other = registry.reserve(tag="other", port=held)
    assert other.refusal == "reserved"


def test_a_reservation_is_an_immutable_value(registry: trop.Registry) -> None:
    held = registry.reserve("/a", "it's")
    assert repr(held) == f"Reservation(port={held.port}, path='/a', tag=\"it's\")"
    other = registry.reserve("/b")
    assert held != other
    assert held != held.port
    assert len({held, other, registry.list()[0]}) == 2
    for name in ("port", "path", "created", "anything"):
        with pytest.raises(AttributeError):
            setattr(held, name, 1)
    with pytest.raises(TypeError):
        trop.Reservation()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_reservation_is_pickled_and_copied_whole(registry: trop.Registry, protocol: int) -> None:
    held = registry.reserve("/a", "web", port=1)
    for twin in (pickle.loads(pickle.dumps(held, protocol)), copy.copy(held), copy.deepcopy(held)):
        assert twin == held
        assert hash(twin) == hash(held)
        names = [name for name in dir(held) if not name.startswith("_")]
        assert [getattr(twin, name) for name in names] == [getattr(held, name) for name in names]
    with pytest.raises(TypeError):
        pickle.dumps(registry)


def test_a_refused_port_says_why() -> None:
    with socket.socket() as server, trop.Registry(ports=(26000, 65535), excluded=[26000]) as registry:
        server.bind(("127.0.0.1", 0))
        taken = registry.reserve("/a").port
        assert registry.reserve("/b", port=25999).refusal == "outside_range"
        assert registry.reserve("/c", port=taken).refusal == "reserved"
        assert registry.reserve("/d", port=26000).refusal == "excluded"
        assert registry.reserve("/e", port=server.getsockname()[1]).refusal == "occupied"
        free = registry.reserve("/f").port
        registry.release("/f")
        wished = registry.reserve("/g", port=free)
        assert (wished.port, wished.refusal) == (free, None)


def test_min_and_max_replace_the_range(registry: trop.Registry) -> None:
    chosen = [registry.reserve("/a", tag, min=27000, max=27999).port for tag in "abc"]
    assert chosen == sorted(set(chosen))
    assert 27000 <= chosen[0] <= chosen[-1] <= 27999
    with pytest.raises(trop.ExhaustedError, match=rf"{chosen[0]}\.\.{chosen[0]} exhausted: 1 reserved"):
        registry.reserve("/b", min=chosen[0], max=chosen[0], disable_autoprune=True)


@pytest.mark.parametrize(
    "excluded",
    ["26000, 26001..26009", [26000, "26001..26009"], iter(range(26000, 26010)), {"26000..26009"}],
    ids=["text", "list", "iterator", "set"],
)
def test_excluded_ports_are_never_chosen(data_dir: Path, excluded: Any) -> None:
    options = {"ports": (26000, 26009), "excluded": excluded}
    with (
        trop.Registry(data_dir, **options) as registry,
        pytest.raises(trop.ExhaustedError, match="10 excluded"),
    ):
        registry.reserve()


def test_a_foreign_listener_is_respected_unless_switched_off(data_dir: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as foreign:
        foreign.bind(("127.0.0.1", 0))
        port = foreign.getsockname()[1]
        for switches in ({}, {"skip_tcp": True}, {"skip_ipv6": True}, {"check_all_interfaces": True}):
            registry = trop.Registry(data_dir, ports=(port, port), **switches)
            with registry, pytest.raises(trop.ExhaustedError, match="1 occupied"):
                registry.reserve()
        for name in ("skip_occupancy_check", "skip_udp", "skip_ipv4"):
            with trop.Registry(data_dir, ports=(port, port), **{name: True}) as registry:
                assert registry.reserve().port == port
                assert registry.release() == 1


def test_release_tells_how_many(registry: trop.Registry) -> None:
    for tag in (None, "a", "b", "c"):
        registry.reserve("/x", tag)
    kept = registry.reserve("/x/below")
    assert registry.release("/x", untagged_only=True) == 1
    assert registry.release("/x", "a") == 1
    assert registry.release("/x", "a") == 0
    assert registry.release(Path("/x")) == 2
    assert registry.list() == [kept]


def test_the_path_defaults_to_the_physical_working_directory(
    registry: trop.Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "work")
    monkeypatch.chdir(link)
    assert registry.reserve().path == os.path.realpath(tmp_path / "work")
    assert registry.release() == 1


def test_the_module_uses_the_registry_of_the_machine(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sql: Callable[[str], str]
) -> None:
    held = trop.reserve(tag="web")
    assert sql("SELECT port FROM reservations") == f"{held.port}\n"
    assert trop.list() == [held]
    with trop.Registry() as registry:
        assert registry.data_dir == data_dir
        assert registry.list() == [held]
    # The guard's base is the working directory of the moment, and so is the registry.
    monkeypatch.chdir(tmp_path)
    trop.reserve(tmp_path / "below", allow_unrelated_path=False)
    monkeypatch.setenv("TROP_DATA_DIR", str(tmp_path / "other"))
    assert trop.list() == []
    monkeypatch.setenv("TROP_DATA_DIR", str(data_dir))
    assert trop.release(tmp_path / "below") == 1
    assert trop.release(held.path, "web") == 1


def test_the_functions_of_the_module_are_the_calls_of_a_registry() -> None:
    calls = {name for name in dir(trop.Registry) if not name.startswith("_")} - {
        "close",
        "closed",
        "data_dir",
    }
    functions = {name for name in trop.__all__ if inspect.isbuiltin(getattr(trop, name))}
    assert functions == calls | {"validate_config"}
    for name in calls:
        function, method = getattr(trop, name), getattr(trop.Registry, name)
        assert (function.__name__, function.__doc__) == (name, method.__doc__)
        assert "Raises" in function.__doc__
        parameters = [*inspect.signature(method).parameters.values()][1:]
        assert [*inspect.signature(function).parameters.values()] == parameters


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_function_of_the_module_is_sent_to_other_processes_by_name(method: str) -> None:
    assert pickle.loads(pickle.dumps(trop.reserve)) == trop.reserve
    with multiprocessing.get_context(method).Pool(1) as pool:
        held = pool.apply(trop.reserve, ("/a", "web"))
    assert trop.list() == [held]


def test_importing_loads_no_slow_modules() -> None:
    program = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import trop\n"
        "new = set(sys.modules) - before\n"
        "assert not new & {'typing', 'dataclasses', 'inspect', 're', 'datetime', 'pytest'}, sorted(new)\n"
        "from trop import *\n"
        "assert Problem.__annotations__.keys() == {'path', 'line', 'field', 'reason'}\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
    with pytest.raises(AttributeError, match="'trop' has no attribute 'nothing'"):
        _ = trop.nothing  # type: ignore[attr-defined]


def test_a_closed_registry_says_so(data_dir: Path) -> None:
    make_project()
    with trop.Registry(data_dir) as registry:
        assert not registry.closed
        assert repr(registry) == f"<trop.Registry {data_dir}, open>"
    assert registry.closed
    assert repr(registry) == f"<trop.Registry {data_dir}, closed>"
    registry.close()
    for call in changing(registry) + reading(registry):
        with pytest.raises(trop.ClosedError) as raised:
            call()
        assert (raised.value.code, raised.value.number) == ("TROP_CLOSED", -14)


def test_an_exception_passes_through_the_with_block(data_dir: Path) -> None:
    with pytest.raises(KeyError), trop.Registry(data_dir) as registry:
        raise KeyError
    assert registry.closed


def test_a_collected_registry_leaves_nothing_open(data_dir: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("needs /proc")

    def is_open() -> bool:
        targets = (os.path.realpath(link) for link in descriptors.iterdir())
        return any(target.startswith(str(data_dir)) for target in targets)

    registry = trop.Registry(data_dir)
    assert is_open()
    del registry
    gc.collect()
    assert not is_open()


def test_a_relative_data_directory_stays_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with trop.Registry("here") as registry:
        monkeypatch.chdir(tmp_path)
        assert registry.data_dir == tmp_path / "work" / "here"
        registry.reserve()


def test_python_ends_in_silence_in_development_mode() -> None:
    program = (
        "import threading, trop\n"
        "kept = trop.Registry()\n"
        "assert kept.reserve(tag='a').port != trop.reserve(tag='b').port\n"
        "threading.Thread(target=trop.reserve, kwargs={'tag': 'c'}).start()\n"
        "class Last:\n"
        "    def __del__(self): kept.list(); trop.release(tag='b')\n"
        "last = Last()\n"
    )
    arguments = [sys.executable, "-X", "dev", "-W", "error", "-c", program]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
