"""Measuring several things in turn, so that whatever else the machine does happens to all of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from statistics import median, quantiles
from typing import NamedTuple

from workers import Measurable

# Rounds that are not counted: caches, compilers at run time.
WARM_UP = 2


class Series:
    """One operation of one worker, measured in batches, one a round."""

    def __init__(
        self, name: str, worker: Measurable, operation: str, count: int, undo: str | None = None
    ) -> None:
        self.name = name
        self.worker = worker
        self.operation = operation
        self.count = count
        self.undo = undo
        self.batches: list[list[int]] = []

    def measure(self) -> None:
        answer = self.worker.ask(self.operation, self.count)
        if answer.failed:
            sys.exit(f"FAILED: {answer.failed} of {self.count} calls of '{self.name}'")
        self.batches.append(sorted(answer.ns))
        if self.undo is not None:
            self.worker.ask(self.undo, self.count)

    def medians(self) -> list[float]:
        """Of each batch, in nanoseconds."""
        return [median(batch) for batch in self.batches]

    def p50(self) -> float:
        """The median of the batches' medians, in microseconds."""
        return median(self.medians()) / 1000

    def percentile(self, percent: int) -> float:
        """Over all calls, in microseconds."""
        every = [ns for batch in self.batches for ns in batch]
        return quantiles(every, n=100, method="inclusive")[percent - 1] / 1000


class Spread(NamedTuple):
    """A quantity taken once a round: its median, and the quartiles that half of the rounds are between."""

    median: float
    low: float
    high: float

    def scaled(self, factor: float) -> Spread:
        return Spread(*(factor * value for value in self))


def ratio(this: Series, that: Series) -> Spread:
    """How many times as long this takes as that, measured in the same round."""
    return quotients(this.medians(), that.medians())


def difference(this: Series, that: Series) -> Spread:
    """How many microseconds longer this takes than that, measured in the same round."""
    return spread([(a - b) / 1000 for a, b in zip(this.medians(), that.medians(), strict=True)])


def quotients(these: Sequence[float], those: Sequence[float]) -> Spread:
    return spread([this / that for this, that in zip(these, those, strict=True)])


def spread(values: Sequence[float]) -> Spread:
    if len(values) < 2:
        return Spread(values[0], values[0], values[0])
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return Spread(middle, low, high)


def interleave(groups: Sequence[Sequence[Series]], rounds: int) -> None:
    """Measures each series once a round; those of a group right after each other, in a rotating order."""
    for turn in range(-WARM_UP, rounds):
        for group in groups:
            first = turn % len(group)
            for series in [*group[first:], *group[:first]]:
                series.measure()
                if turn < 0:
                    series.batches.clear()
