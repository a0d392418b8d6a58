"""trop's Python worker of the benchmark: see bench/PROTOCOL.md."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from typing import TypeVar

import trop

from lines import Batch, churned, serve, timed

Kept = TypeVar("Kept")


class Worker:
    """A registry, and what this worker has of it."""

    def __init__(self, data_dir: str, lowest: str, highest: str) -> None:
        ports = (int(lowest), int(highest))
        self.connect = partial(trop.Registry, data_dir, ports=ports, discovery=False, variables=False)
        self.registry = self.connect()
        self.made = 0
        # What is reserved, and what is leased: the oldest first.
        self.tags: list[str] = []
        self.leases: list[trop.Lease] = []

    def new(self, count: int, skip_occupancy_check: bool = False) -> Batch:
        tags = [f"{os.getpid()}-{self.made + number}" for number in range(1, count + 1)]
        self.made += count
        reserve = self.registry.reserve
        if skip_occupancy_check:
            reserve = partial(reserve, skip_occupancy_check=True)
        batch = timed([partial(reserve, tag=tag) for tag in tags])
        self.tags += [tag for tag, result in zip(tags, batch.results, strict=True) if result is not None]
        return batch

    def fill(self, count: int) -> Batch:
        return self.new(count, skip_occupancy_check=True)

    def release(self, count: int) -> Batch:
        tags = oldest(self.tags, count)
        batch = timed([partial(self.registry.release, tag=tag) for tag in tags])
        del self.tags[:count]
        return batch

    def hit(self, count: int) -> Batch:
        reserve = partial(self.registry.reserve, tag=self.last_tag())
        reserve()
        return timed([reserve] * count)

    def touch(self, count: int) -> Batch:
        tags = oldest(self.tags, count)
        # Whatever was reserved until now was reserved in a second that has passed afterwards.
        second = int(time.time())
        while int(time.time()) == second:
            time.sleep(max(0, second + 1 - time.time()))
        return timed([partial(self.registry.reserve, tag=tag) for tag in tags])

    def lease(self, count: int) -> Batch:
        batch = timed([self.registry.lease] * count)
        self.leases += [lease for lease in batch.results if lease is not None]
        return batch

    def close(self, count: int) -> Batch:
        batch = timed([lease.close for lease in oldest(self.leases, count)])
        del self.leases[:count]
        return batch

    def churn(self, count: int) -> Batch:
        return churned(count, self.registry.lease, trop.Lease.close)

    def open(self, count: int) -> Batch:
        tag = self.last_tag()

        def open_and_hit() -> trop.Reservation:
            with self.connect() as registry:
                return registry.reserve(tag=tag)

        return timed([open_and_hit] * count)

    def last_tag(self) -> str:
        if not self.tags:
            self.new(1)
        return self.tags[-1]


def oldest(kept: list[Kept], count: int) -> list[Kept]:
    if count > len(kept):
        sys.exit(f"worker.py: only {len(kept)} are kept")
    return kept[:count]


if __name__ == "__main__":
    worker = Worker(*sys.argv[1:])
    serve(
        [
            worker.new,
            worker.fill,
            worker.release,
            worker.hit,
            worker.touch,
            worker.lease,
            worker.close,
            worker.churn,
            worker.open,
        ]
    )
