"""Many owners of leases at little cost, for the benchmark: COUNT open registries, each with one lease.

`owners.py COUNT DATA_DIR MIN MAX` prints `ready` when it has them and keeps them until its input ends.
"""

from __future__ import annotations

import resource
import sys

import trop


def main() -> None:
    count, data_dir, lowest, highest = sys.argv[1:]
    # Each has a file of its own to lock.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    ports = (int(lowest), int(highest))
    kept = []
    for _ in range(int(count)):
        owner = trop.Registry(data_dir, ports=ports, discovery=False, variables=False)
        kept.append((owner, owner.lease(skip_occupancy_check=True)))
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
