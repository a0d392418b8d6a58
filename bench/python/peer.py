"""A Python package that picks ports, as a worker: `peer.py PACKAGE FOLDER`, operation `pick`."""

from __future__ import annotations

import importlib
import sys

from lines import Batch, serve, timed

# The module of each package, and its function.
PEERS = {
    "portpicker": ("portpicker", "pick_unused_port"),
    "port-for": ("port_for", "select_random"),
    "ephemeral-port-reserve": ("ephemeral_port_reserve", "reserve"),
}


def main() -> None:
    package, folder = sys.argv[1:]
    sys.path.insert(0, folder)
    module, function = PEERS[package]
    call = getattr(importlib.import_module(module), function)

    def pick(count: int) -> Batch:
        return timed([call] * count)

    serve([pick])


if __name__ == "__main__":
    main()
