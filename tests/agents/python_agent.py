"""The Python agent: see tests/PROTOCOL.md."""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

import trop

Fields = dict[str, str]
Answer = dict[str, object]

# Every lease that was taken, by its handle, and the socket that listens on it.
LEASES: list[trop.Lease] = []
SOCKETS: dict[int, socket.socket] = {}


def main() -> None:
    registry: trop.Registry | None = None
    for line in sys.stdin.buffer:
        verb, *fields = line.rstrip(b"\n").split(b"\t")
        given = dict(decode(field) for field in fields)
        try:
            if verb == b"open":
                if registry is not None:
                    registry.close()
                registry = open_registry(given)
                answer = encode("ok")
            elif verb == b"validate_config":
                answer = encode("ok", json=json.dumps(trop.validate_config(given["file"])))
            else:
                assert registry is not None, "the first command must be open"
                answer = encode("ok", **COMMANDS[verb.decode()](registry, given))
        except trop.Error as error:
            blamed = {} if error.argument is None else {"argument": error.argument}
            answer = encode("error", code=error.number, name=error.code, **blamed, message=str(error))
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()


def open_registry(given: Fields) -> trop.Registry:
    options = texts(given, "excluded", "start_dir", "config_file")
    options |= switches(given, "create", "discovery", "variables", "avoid_unsafe_ports")
    if "busy_timeout_ms" in given:
        options["busy_timeout"] = int(given["busy_timeout_ms"]) / 1000
    if "ports_min" in given:
        options["ports"] = (int(given["ports_min"]), int(given["ports_max"]))
    return trop.Registry(given.get("data_dir"), **options)


def reserve(registry: trop.Registry, given: Fields) -> Answer:
    options = texts(given, "path", "tag", "project", "task") | numbers(given, "port", "min", "max")
    options |= switches(given, "clear_project", "clear_task", "overwrite", "ignore_occupied")
    options |= switches(given, "ignore_exclusions", "disable_autoprune", "disable_autoexpire")
    reservation = registry.reserve(**options, **permissions(given))
    answer = {
        "port": reservation.port,
        "path": reservation.path,
        "tag": reservation.tag,
        "project": reservation.project,
        "task": reservation.task,
        "created": int(reservation.created),
        "refusal": reservation.refusal,
    }
    if reservation.cleanup is not None:
        answer |= counts(reservation.cleanup)
    return {name: value for name, value in answer.items() if value is not None}


def storm(registry: trop.Registry, given: Fields) -> Answer:
    ports = [registry.reserve(given["path"], str(tag)).port for tag in range(int(given["count"]))]
    return {"ports": ",".join(map(str, ports))}


def reserve_group(registry: trop.Registry, given: Fields) -> Answer:
    ports = registry.reserve_group(**texts(given, "file", "task", "by"), **permissions(given))
    return {"json": json.dumps(ports)}


def release(registry: trop.Registry, given: Fields) -> Answer:
    options = texts(given, "path", "tag")
    options |= switches(given, "untagged_only", "recursive", "allow_unrelated_path", "dry_run")
    return {"count": registry.release(**options)}


def release_port(registry: trop.Registry, given: Fields) -> Answer:
    options = numbers(given, "port") | switches(given, "force", "dry_run")
    return {"count": int(registry.release_port(**options))}


def lease_options(given: Fields) -> dict[str, Any]:
    options = texts(given, "label") | numbers(given, "port", "min", "max")
    return options | switches(given, "hold", "skip_occupancy_check")


def port(registry: trop.Registry, given: Fields) -> Answer:
    return {"port": registry.port(**lease_options(given))}


def lease(registry: trop.Registry, given: Fields) -> Answer:
    options = lease_options(given)
    if "count" in given:
        leases = registry.lease_many(**numbers(given, "count"), **switches(given, "contiguous"), **options)
    else:
        leases = [registry.lease(**options)]
    handles = range(len(LEASES), len(LEASES) + len(leases))
    LEASES.extend(leases)
    return {"ports": ",".join(str(one.port) for one in leases), "handles": ",".join(map(str, handles))}


def lease_close(_registry: trop.Registry, given: Fields) -> Answer:
    handle = int(given["handle"])
    if handle in SOCKETS:
        SOCKETS.pop(handle).close()
    LEASES[handle].close()
    return {}


def lease_listen(_registry: trop.Registry, given: Fields) -> Answer:
    handle = int(given["handle"])
    SOCKETS[handle] = LEASES[handle].listen(**texts(given, "host"))
    return {}


def lease_wait_listening(_registry: trop.Registry, given: Fields) -> Answer:
    LEASES[int(given["handle"])].wait_listening(int(given["timeout_ms"]) / 1000)
    return {}


def leases(registry: trop.Registry, _given: Fields) -> Answer:
    return {"json": json.dumps([plain_lease(one) for one in registry.leases()])}


def own_leases(registry: trop.Registry, _given: Fields) -> Answer:
    return {"json": json.dumps([plain_lease(one) for one in registry.own_leases()])}


def explain(registry: trop.Registry, given: Fields) -> Answer:
    told = registry.explain(**numbers(given, "port"))
    plainly = fields(told) | {
        "reservation": None if told.reservation is None else plain(told.reservation),
        "lease": None if told.lease is None else plain_lease(told.lease),
    }
    return {"json": json.dumps(plainly)}


def find(registry: trop.Registry, given: Fields) -> Answer:
    return found(registry.find(**texts(given, "path", "tag")))


def find_port(registry: trop.Registry, given: Fields) -> Answer:
    return found(registry.find_port(**numbers(given, "port")))


def list_some(registry: trop.Registry, given: Fields) -> Answer:
    listed = registry.list(**texts(given, "project", "tag", "path"))
    return {"json": json.dumps([plain(held) for held in listed])}


def projects(registry: trop.Registry, _given: Fields) -> Answer:
    return {"json": json.dumps(registry.projects())}


def prune(registry: trop.Registry, given: Fields) -> Answer:
    return counts(registry.prune(**switches(given, "dry_run")))


def expire(registry: trop.Registry, given: Fields) -> Answer:
    return counts(registry.expire(**numbers(given, "days"), **switches(given, "dry_run")))


def autoclean(registry: trop.Registry, given: Fields) -> Answer:
    return counts(registry.autoclean(**numbers(given, "days"), **switches(given, "dry_run")))


def migrate(registry: trop.Registry, given: Fields) -> Answer:
    options = switches(given, "recursive", "force", "dry_run")
    migration = registry.migrate(given["from"], given["to"], **options)
    return {"moved": len(migration.moves), "conflicts": len(migration.conflicts)}


def scan(registry: trop.Registry, given: Fields) -> Answer:
    return {"json": json.dumps(registry.scan(**numbers(given, "min", "max")))}


def validate_database(registry: trop.Registry, _given: Fields) -> Answer:
    registry.validate_database()
    return {}


def close(registry: trop.Registry, _given: Fields) -> Answer:
    registry.close()
    return {}


COMMANDS = {
    "reserve": reserve,
    "storm": storm,
    "reserve_group": reserve_group,
    "release": release,
    "release_port": release_port,
    "lease": lease,
    "port": port,
    "lease_close": lease_close,
    "lease_listen": lease_listen,
    "lease_wait_listening": lease_wait_listening,
    "leases": leases,
    "own_leases": own_leases,
    "explain": explain,
    "find": find,
    "find_port": find_port,
    "list": list_some,
    "projects": projects,
    "prune": prune,
    "expire": expire,
    "autoclean": autoclean,
    "migrate": migrate,
    "scan": scan,
    "validate_database": validate_database,
    "close": close,
}


def texts(given: Fields, *names: str) -> dict[str, Any]:
    return {name: given[name] for name in names if name in given}


def numbers(given: Fields, *names: str) -> dict[str, Any]:
    return {name: int(given[name]) for name in names if name in given}


def switches(given: Fields, *names: str) -> dict[str, Any]:
    return {name: given[name] == "1" for name in names if name in given}


def permissions(given: Fields) -> dict[str, Any]:
    """The switches that single reservations and groups have in common."""
    names = ("allow_unrelated_path", "allow_project_change", "allow_task_change", "force")
    return switches(given, *names, "skip_occupancy_check", "dry_run")


def plain(held: trop.Reservation) -> dict[str, object]:
    return {
        "port": held.port,
        "path": held.path,
        "tag": held.tag,
        "project": held.project,
        "task": held.task,
        "created_at": f"{held.created_at:%Y-%m-%d %H:%M:%S}",
        "last_used_at": f"{held.last_used_at:%Y-%m-%d %H:%M:%S}",
    }


def fields(result: trop.LeaseInfo | trop.Explanation) -> dict[str, Any]:
    """The attributes of a result by their names."""
    return {name: getattr(result, name) for name in result.__match_args__}


def plain_lease(lease: trop.LeaseInfo) -> dict[str, object]:
    return fields(lease) | {"since": f"{lease.since:%Y-%m-%d %H:%M:%S}"}


def found(held: trop.Reservation | None) -> Answer:
    return {"json": json.dumps(None if held is None else plain(held))}


def counts(cleanup: trop.Cleanup) -> Answer:
    return {"pruned": len(cleanup.pruned), "expired": len(cleanup.expired)}


def decode(field: bytes) -> tuple[str, str]:
    name, _, value = field.partition(b"=")
    return name.decode(), os.fsdecode(unquote_to_bytes(value))


def encode(status: str, **fields: object) -> bytes:
    values = {name: quote_from_bytes(os.fsencode(str(value)), safe="/") for name, value in fields.items()}
    return "\t".join([status, *(f"{name}={value}" for name, value in values.items())]).encode() + b"\n"


if __name__ == "__main__":
    main()
