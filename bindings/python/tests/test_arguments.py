"""Bad input is a typed error that names the argument, and changes nothing."""

from __future__ import annotations

import math
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trop

BAD_PORTS = [0, -1, 65536, 70000, 2**31, 2**63, -(2**63) - 1, 10**30, 10**5000]
BAD_TAGS = ["", "  ", "x" * 300, "é" * 128, "a\0b", "\udcff", "\ud800"]
BAD_PATHS = ["", "a\0b", "/caf\udce9", "/\ud800", "/..", "~nobody/x"]

BAD_TEXTS = ["\udcff", "\ud800"]
BAD_DAYS = [0, -1, 2**32, 2**63, -(2**63) - 1, 10**5000]

RESERVE = [
    *[({name: tag}, name) for name in ("project", "task") for tag in BAD_TAGS],
    ({"project": "x", "clear_project": True}, "clear_project"),
    ({"task": "x", "clear_task": True}, "clear_task"),
    *[({name: port}, name) for name in ("port", "min", "max") for port in BAD_PORTS],
    *[({"tag": tag}, "tag") for tag in BAD_TAGS],
    *[({"path": path}, "path") for path in BAD_PATHS],
    ({"min": 9000, "max": 8000}, "min"),
]
RELEASE = [
    *[({"tag": tag}, "tag") for tag in BAD_TAGS],
    *[({"path": path}, "path") for path in BAD_PATHS],
    ({"tag": "x", "untagged_only": True}, "untagged_only"),
]
OTHERS = [
    *[(name, (port,), {}, "port") for name in ("release_port", "find_port", "explain") for port in BAD_PORTS],
    *[("find", (path,), {}, "path") for path in BAD_PATHS],
    *[("find", (None, tag), {}, "tag") for tag in BAD_TAGS],
    *[("list", (), {"path": path}, "path") for path in BAD_PATHS],
    *[("list", (), {name: text}, name) for name in ("project", "tag") for text in BAD_TEXTS],
    *[(name, (days,), {}, "days") for name in ("expire", "autoclean") for days in BAD_DAYS],
    *[("migrate", (path, "/to"), {}, "from") for path in BAD_PATHS],
    *[("migrate", ("/from", path), {}, "to") for path in BAD_PATHS],
    *[("scan", (), {name: port}, name) for name in ("min", "max") for port in BAD_PORTS],
    *[("lease", (), {name: port}, name) for name in ("port", "min", "max") for port in BAD_PORTS],
    *[("lease", (), {"label": label}, "label") for label in BAD_TAGS],
    ("lease", (), {"min": 9000, "max": 8000}, "min"),
    *[("lease_many", (count,), {}, "count") for count in (0, -1, 65536, 2**32, 2**63, 10**5000)],
    ("lease_many", (2,), {"min": 9000, "max": 9000}, "count"),
    *[("reserve_group", (), {"by": by}, "by") for by in ("", "port", "Tag", *BAD_TEXTS)],
    *[("reserve_group", ("trop.yaml",), {"task": task}, "task") for task in BAD_TAGS],
    *[("reserve_group", (file,), {}, "file") for file in ("", "missing", ".", "a\0b", "\ud800")],
    *[("validate_config", (file,), {}, "file") for file in ("", "missing", ".", "a\0b", "\ud800")],
]
REGISTRY = [
    *[({"data_dir": path}, "data_dir") for path in ("", "a\0b", "\ud800")],
    *[({"start_dir": path}, "start_dir") for path in ("", "missing", "a\0b", "\ud800")],
    *[({"config_file": path}, "config_file") for path in ("", "missing", ".", "a\0b", "\ud800")],
    *[({"ports": ports}, "ports") for ports in ((9000, 8000), (0, 1), (1, 65536), (1,), (1, 2, 3), ())],
    *[({"ports": (1, port)}, "ports") for port in BAD_PORTS],
    *[({"excluded": [port]}, "excluded") for port in BAD_PORTS],
    *[({"excluded": [text]}, "excluded") for text in ("x", "0", "5..4", "1..70000", "\udcff", "5001\0")],
    ({"excluded": "5001, x"}, "excluded"),
    *[({"busy_timeout": t}, "busy_timeout") for t in (-1, -0.5, math.nan, math.inf, 1e300, 2147484, 10**400)],
]


PROBES = ["skip_occupancy_check", "skip_tcp", "skip_udp", "skip_ipv4", "skip_ipv6", "check_all_interfaces"]
PERMISSIONS = ["allow_unrelated_path", "allow_project_change", "allow_task_change", "force"]
CHOICES = ["overwrite", "ignore_occupied", "ignore_exclusions", "disable_autoprune", "disable_autoexpire"]
SWITCHES = {
    "Registry": [*PROBES, "create", "discovery", "variables"],
    "reserve": [*PROBES, *PERMISSIONS, *CHOICES, "clear_project", "clear_task", "dry_run"],
    "reserve_group": [*PROBES, *PERMISSIONS, "dry_run"],
    "release": ["untagged_only", "recursive", "allow_unrelated_path", "dry_run"],
    "release_port": ["force", "dry_run"],
    "lease": [*PROBES, "hold"],
    "lease_many": [*PROBES, "contiguous", "hold"],
    "prune": ["dry_run"],
    "expire": ["dry_run"],
    "autoclean": ["dry_run"],
    "migrate": ["recursive", "force", "dry_run"],
}
POSITIONAL = {"release_port": (1,), "lease_many": (1,), "migrate": ("/a", "/b")}


def argument_name(value: object) -> str | None:
    """Names the argument; the value may have more digits than Python shows."""
    return value if isinstance(value, str) else None


def blames(error: BaseException, argument: str) -> bool:
    assert isinstance(error, trop.InvalidArgumentError)
    assert isinstance(error, ValueError)
    assert (error.code, error.number) == ("TROP_INVALID_ARGUMENT", -1)
    assert str(error).startswith(f"Invalid {argument}: ")
    return error.argument == argument


@pytest.mark.parametrize(("arguments", "argument"), RESERVE, ids=argument_name)
def test_reserve_refuses(registry: trop.Registry, arguments: dict[str, object], argument: str) -> None:
    kept = registry.reserve("/kept")
    for reserve in (registry.reserve, trop.reserve):
        with pytest.raises(trop.Error) as raised:
            reserve(**arguments)  # type: ignore[arg-type]
        assert blames(raised.value, argument)
    assert registry.list() == [kept]


@pytest.mark.parametrize(("arguments", "argument"), RELEASE, ids=argument_name)
def test_release_refuses(registry: trop.Registry, arguments: dict[str, object], argument: str) -> None:
    kept = [registry.reserve(), registry.reserve(tag="x")]
    for release in (registry.release, trop.release):
        with pytest.raises(trop.Error) as raised:
            release(**arguments)  # type: ignore[arg-type]
        assert blames(raised.value, argument)
    assert registry.list() == kept


@pytest.mark.parametrize(("name", "values", "options", "argument"), OTHERS, ids=argument_name)
def test_every_other_call_refuses(
    registry: trop.Registry, name: str, values: tuple[Any, ...], options: dict[str, Any], argument: str
) -> None:
    Path("trop.yaml").write_text("reservations: {services: {web: }}\n")
    kept = [registry.reserve(), registry.reserve(tag="x")]
    for owner in (registry, trop):
        if call := getattr(owner, name, None):
            with pytest.raises(trop.Error) as raised:
                call(*values, **options)
            assert blames(raised.value, argument)
    assert registry.list() == kept


@pytest.mark.parametrize(("arguments", "argument"), REGISTRY, ids=argument_name)
def test_a_registry_refuses(data_dir: Path, arguments: dict[str, object], argument: str) -> None:
    with pytest.raises(trop.Error) as raised:
        trop.Registry(**arguments)  # type: ignore[arg-type]
    assert blames(raised.value, argument)
    assert not data_dir.exists()


class BytesPath:
    def __fspath__(self) -> bytes:
        return b"/a"


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        *[(lambda value=value: trop.reserve(value), "path") for value in (b"/a", BytesPath(), 1)],
        (lambda: trop.release(b"/a"), "path"),
        (lambda: trop.reserve(tag=b"a"), "tag"),
        (lambda: trop.reserve(tag=1), "tag"),
        *[(lambda value=value: trop.reserve(port=value), "port") for value in ("5000", 5000.0, [])],
        (lambda: trop.reserve(min="1"), "min"),
        (lambda: trop.reserve(max="1"), "max"),
        (lambda: trop.Registry(b"/a"), "data_dir"),
        (lambda: trop.Registry(ports=5000), "ports"),
        (lambda: trop.Registry(ports="ab"), "ports"),
        (lambda: trop.Registry(ports=("1", "2")), "ports"),
        (lambda: trop.Registry(excluded=5000), "excluded"),
        (lambda: trop.Registry(excluded=[5000.0]), "excluded"),
        (lambda: trop.Registry(excluded=[None]), "excluded"),
        (lambda: trop.Registry(busy_timeout="1"), "busy_timeout"),
        (lambda: trop.Registry(start_dir=b"/a"), "start_dir"),
        (lambda: trop.Registry(config_file=1), "config_file"),
        (lambda: trop.reserve(project=1), "project"),
        (lambda: trop.reserve(task=b"x"), "task"),
        (lambda: trop.reserve_group(b"trop.yaml"), "file"),
        (lambda: trop.reserve_group(task=1), "task"),
        (lambda: trop.reserve_group(by=1), "by"),
        (lambda: trop.release_port(None), "port"),
        (lambda: trop.find(1), "path"),
        (lambda: trop.find(tag=1), "tag"),
        (lambda: trop.find_port("1"), "port"),
        (lambda: trop.list(project=1), "project"),
        (lambda: trop.list(tag=b"x"), "tag"),
        (lambda: trop.list(path=b"/"), "path"),
        (lambda: trop.expire(1.0), "days"),
        (lambda: trop.autoclean("1"), "days"),
        (lambda: trop.migrate(None, "/to"), "from"),
        (lambda: trop.migrate("/from", b"/to"), "to"),
        (lambda: trop.scan(min="1"), "min"),
        (lambda: trop.scan(max=1.0), "max"),
        (lambda: trop.validate_config(b"trop.yaml"), "file"),
        (lambda: trop.lease(port="1"), "port"),
        (lambda: trop.lease(label=1), "label"),
        (lambda: trop.lease_many("1"), "count"),
        (lambda: trop.lease_many(1.0), "count"),
        (lambda: trop.explain(None), "port"),
    ],
)
def test_a_wrong_type_is_a_type_error_that_names_the_argument(
    data_dir: Path, call: Callable[[], object], argument: str
) -> None:
    with pytest.raises(TypeError, match=f"'{argument}'"):
        call()
    assert not data_dir.exists()


@pytest.mark.parametrize(
    ("name", "value", "argument"),
    [
        *[("listen", host, "host") for host in ("", "a\0b", "\ud800", "256.0.0.1")],
        *[("bind", protocol, "protocol") for protocol in ("", "TCP", "sctp", "\ud800")],
        *[("wait_listening", t, "timeout") for t in (-1, math.nan, math.inf, 1e300, 10**400)],
    ],
    ids=argument_name,
)
def test_a_lease_refuses(registry: trop.Registry, name: str, value: Any, argument: str) -> None:
    lease = registry.lease()
    with pytest.raises(trop.Error) as raised:
        getattr(lease, name)(value)
    assert blames(raised.value, argument)
    assert not lease.closed


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("listen", {"host": 1}),
        ("listen", {"host": b"localhost"}),
        ("listen", {"backlog": "1"}),
        ("bind", {"protocol": socket.SOCK_STREAM}),
        ("bind", {"host": b"localhost"}),
        ("wait_listening", {"timeout": "1"}),
    ],
)
def test_a_lease_names_the_argument_of_a_wrong_type(
    registry: trop.Registry, name: str, options: dict[str, Any]
) -> None:
    with pytest.raises(TypeError, match=f"'{next(iter(options))}'"):
        getattr(registry.lease(), name)(**options)


@pytest.mark.parametrize("backlog", [-1, 2**31, 2**63])
def test_a_backlog_that_is_impossible(registry: trop.Registry, backlog: int) -> None:
    with pytest.raises(trop.Error) as raised:
        registry.lease().listen(backlog=backlog)
    assert blames(raised.value, "backlog")


@pytest.mark.parametrize(
    ("name", "switch"), [(name, switch) for name in SWITCHES for switch in SWITCHES[name]]
)
def test_a_switch_is_true_or_false(data_dir: Path, name: str, switch: str) -> None:
    # In a note, which Python 3.10 does not have.
    names_it = f"'{switch}'" if sys.version_info >= (3, 11) else "bool"
    # None is the default of what is neither on nor off.
    nothing = [] if switch == "check_all_interfaces" else [None]
    for value in (*nothing, 0, 1, "yes"):
        with pytest.raises(TypeError, match=names_it):
            getattr(trop, name)(*POSITIONAL.get(name, ()), **{switch: value})
    assert not data_dir.exists()


def test_what_the_callers_own_code_raises_passes_through() -> None:
    class Broken:
        def __fspath__(self) -> str:
            raise KeyError("own")

        def __index__(self) -> int:
            raise KeyError("own")

        def __iter__(self) -> None:
            raise KeyError("own")

    for call in (
        lambda: trop.reserve(Broken()),
        lambda: trop.migrate("/a", Broken()),
        lambda: trop.expire(Broken()),
        lambda: trop.validate_config(Broken()),
        lambda: trop.reserve(port=Broken()),
        lambda: trop.Registry(excluded=Broken()),  # type: ignore[arg-type]
        lambda: trop.Registry(excluded=(1 // 0 for _ in "x")),
    ):
        with pytest.raises((KeyError, ZeroDivisionError)):
            call()


def test_unusual_values_that_are_fine(data_dir: Path) -> None:
    class Integer:
        def __index__(self) -> int:
            return 26000

    ports: Any = [Integer(), 27999]
    with trop.Registry(data_dir, ports=ports, excluded=None, busy_timeout=0) as registry:
        assert registry.reserve("/" + "é" * 3000, "é" * 127).tag == "é" * 127
        assert registry.reserve("~", port=Integer()).path == os.environ["HOME"]


@pytest.mark.skipif(sys.platform == "darwin", reason="the file system takes UTF-8 only")
def test_only_paths_that_are_stored_have_to_be_utf_8(data_dir: Path) -> None:
    with trop.Registry(data_dir / "caf\udce9") as registry:
        assert registry.data_dir == data_dir / "caf\udce9"
