"""What picks ports in Python, as a worker: `peer.py PACKAGE FOLDER`, operations `pick` and `churn`."""

from __future__ import annotations

import importlib
import socket
import sys

from lines import Batch, churned, serve, timed


def bind_0() -> int:
    """Without a package: what the kernel gives."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port: int = bound.getsockname()[1]
        return port


# The module of each package, and its function.
PEERS = {
    "portpicker": ("portpicker", "pick_unused_port"),
    "port-for": ("port_for", "select_random"),
    "ephemeral-port-reserve": ("ephemeral_port_reserve", "reserve"),
}


def main() -> None:
    package, folder = sys.argv[1:]
    sys.path.insert(0, folder)
    if package == "bind(0)":
        call = bind_0
    else:
        module, function = PEERS[package]
        call = getattr(importlib.import_module(module), function)

    def pick(count: int) -> Batch:
        return timed([call] * count)

    def churn(count: int) -> Batch:
        return churned(count, call, lambda _: None)

    serve([pick, churn])


if __name__ == "__main__":
    main()
