"""The Python agent: see tests/PROTOCOL.md."""

from __future__ import annotations

import json
import os
import sys
from urllib.parse import quote_from_bytes, unquote_to_bytes

import trop

Fields = dict[str, str]


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
            else:
                assert registry is not None, "the first command must be open"
                answer = encode("ok", **COMMANDS[verb.decode()](registry, given))
        except trop.Error as error:
            blamed = {} if error.argument is None else {"argument": error.argument}
            answer = encode("error", code=error.number, name=error.code, **blamed, message=str(error))
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()


def open_registry(given: Fields) -> trop.Registry:
    options: dict[str, object] = {}
    if "create" in given:
        options["create"] = given["create"] == "1"
    if "busy_timeout_ms" in given:
        options["busy_timeout"] = int(given["busy_timeout_ms"]) / 1000
    if "ports_min" in given:
        options["ports"] = (int(given["ports_min"]), int(given["ports_max"]))
    if "excluded" in given:
        options["excluded"] = given["excluded"]
    return trop.Registry(given.get("data_dir"), **options)  # type: ignore[arg-type]


def reserve(registry: trop.Registry, given: Fields) -> dict[str, object]:
    reservation = registry.reserve(
        given.get("path"),
        given.get("tag"),
        port=number(given, "port"),
        min=number(given, "min"),
        max=number(given, "max"),
        **switches(given, "allow_unrelated_path"),
    )
    answer = {
        "port": reservation.port,
        "path": reservation.path,
        "tag": reservation.tag,
        "created": int(reservation.created),
        "refusal": reservation.refusal,
    }
    return {name: value for name, value in answer.items() if value is not None}


def storm(registry: trop.Registry, given: Fields) -> dict[str, object]:
    ports = [registry.reserve(given["path"], str(tag)).port for tag in range(int(given["count"]))]
    return {"ports": ",".join(map(str, ports))}


def release(registry: trop.Registry, given: Fields) -> dict[str, object]:
    chosen = switches(given, "untagged_only", "allow_unrelated_path")
    return {"count": registry.release(given.get("path"), given.get("tag"), **chosen)}


def list_all(registry: trop.Registry, _given: Fields) -> dict[str, object]:
    listed = [
        {
            "port": held.port,
            "path": held.path,
            "tag": held.tag,
            "project": held.project,
            "task": held.task,
            "created_at": f"{held.created_at:%Y-%m-%d %H:%M:%S}",
            "last_used_at": f"{held.last_used_at:%Y-%m-%d %H:%M:%S}",
        }
        for held in registry.list()
    ]
    return {"json": json.dumps(listed)}


def close(registry: trop.Registry, _given: Fields) -> dict[str, object]:
    registry.close()
    return {}


COMMANDS = {"reserve": reserve, "storm": storm, "release": release, "list": list_all, "close": close}


def number(given: Fields, name: str) -> int | None:
    return int(given[name]) if name in given else None


def switches(given: Fields, *names: str) -> dict[str, bool]:
    return {name: given[name] == "1" for name in names if name in given}


def decode(field: bytes) -> tuple[str, str]:
    name, _, value = field.partition(b"=")
    return name.decode(), os.fsdecode(unquote_to_bytes(value))


def encode(status: str, **fields: object) -> bytes:
    values = {name: quote_from_bytes(os.fsencode(str(value)), safe="/") for name, value in fields.items()}
    return "\t".join([status, *(f"{name}={value}" for name, value in values.items())]).encode() + b"\n"


if __name__ == "__main__":
    main()
