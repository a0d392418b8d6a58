"""The types of the dictionaries that calls return. Only loaded when somebody asks for them."""

from __future__ import annotations

from typing import Literal, TypedDict


class Finding(TypedDict):
    """A port that something on this machine has bound; what is not known of its owner is `None`."""

    port: int
    status: Literal["occupied", "occupied (reserved)"]
    reserved: bool
    protocol: Literal["tcp", "udp"]
    address_family: Literal["ipv4", "ipv6"]
    scope: Literal["localhost", "wildcard"]
    address: str
    process_id: int | None
    process_name: str | None
    user: str | None
    owner_status: Literal["available", "partial", "unavailable"]


class Problem(TypedDict):
    """Something wrong with a configuration file."""

    path: str
    line: int
    """Counted from 1."""
    field: str
    """The key, such as ``ports.min``; ``configuration`` for the file as a whole."""
    reason: str
