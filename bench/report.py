"""What was measured, with the targets: as tables in text and Markdown, and as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from interleave import Series, Spread, difference, ratio


class Target(NamedTuple):
    """What a quantity is meant to be, and whether it is."""

    text: str
    met: bool


def at_most(limit: float, value: float, unit: str) -> Target:
    return Target(f"at most {with_unit(f'{limit:,}', unit)}", value <= limit)


def at_least(limit: float, value: float, unit: str) -> Target:
    return Target(f"at least {with_unit(f'{limit:,}', unit)}", value >= limit)


class Row(NamedTuple):
    """One quantity. `of` says what it was taken from, in words; `series` which series, by their names."""

    what: str
    measured: Spread
    unit: str
    target: Target | None
    of: str
    series: Sequence[str]

    def cells(self) -> list[str]:
        text, verdict = "", ""
        if self.target is not None:
            text, verdict = self.target.text, "met" if self.target.met else "MISSED"
        middle, low, high = self.measured
        between = "" if low == high else f"{number(low)} to {number(high)}"
        return [self.what, text, with_unit(number(middle), self.unit), verdict, between, self.of]

    def data(self) -> dict[str, Any]:
        middle, low, high = self.measured
        target = {} if self.target is None else {"target": self.target.text, "met": self.target.met}
        between = {} if low == high else {"quartiles": [low, high]}
        series = {"series": self.series} if self.series else {}
        return {
            "what": self.what,
            "measured": middle,
            "unit": self.unit,
            **between,
            **target,
            "of": self.of,
            **series,
        }


@dataclass
class Section:
    """Rows that belong together."""

    title: str
    rows: list[Row] = field(default_factory=list)

    def add(
        self,
        what: str,
        measured: Spread | float,
        unit: str,
        target: Target | None = None,
        of: str = "",
        series: Sequence[Series] = (),
    ) -> None:
        if not isinstance(measured, Spread):
            measured = Spread(measured, measured, measured)
        self.rows.append(Row(what, measured, unit, target, of, [one.name for one in series]))

    def ratio(
        self, what: str, this: Series, that: Series, limit: float | None = None, or_more: float | None = None
    ) -> None:
        """This beside that. The target is `limit` times that, or `or_more` microseconds more than that."""
        times = ratio(this, that)
        target = None if limit is None else at_most(limit, times.median, "x")
        if target is not None and or_more is not None:
            is_near = difference(this, that).median <= or_more
            target = Target(f"{target.text} or {or_more:g} us more", target.met or is_near)
        of = f"{number(this.p50())} us beside {number(that.p50())} us"
        self.add(what, times, "x", target, of, [this, that])


class Table(NamedTuple):
    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        lines = [self.heads, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.heads))]
        aligned = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        return "\n".join([self.title, *(f"  {line}" for line in aligned)])

    def markdown(self) -> str:
        lines = [self.heads, ["---"] * len(self.heads), *self.rows]
        return "\n".join([f"### {self.title}", "", *(f"| {' | '.join(line)} |" for line in lines)])


@dataclass
class Crowd:
    """What an engine's processes got when they all asked at once, in some runs."""

    engine: str
    processes: int
    calls: int
    throughput: Spread
    """Calls a second."""
    p50: float
    p99: float
    worst: Spread
    """The longest wait of a run. All three are in milliseconds."""
    failed: int
    duplicates: int


@dataclass
class Report:
    """Everything that a run measured."""

    machine: dict[str, str]
    sections: list[Section] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    growth: list[dict[str, float]] = field(default_factory=list)
    crowds: list[Crowd] = field(default_factory=list)
    defects: list[str] = field(default_factory=list)

    def section(self, title: str) -> Section:
        self.sections.append(Section(title))
        return self.sections[-1]

    def tables(self) -> list[Table]:
        heads = ["what", "target", "measured", "", "half of the rounds", "of"]
        tables = [Table(one.title, heads, [row.cells() for row in one.rows]) for one in self.sections]
        if self.crowds:
            tables.append(self.crowd_table())
        if self.series:
            tables.append(self.latency_table())
        return tables

    def crowd_table(self) -> Table:
        heads = ["processes", "", "leases a second", "p50 ms", "p99 ms", "worst ms", "failed", "duplicates"]
        rows = [
            [
                str(crowd.processes),
                crowd.engine,
                *map(number, [crowd.throughput.median, crowd.p50, crowd.p99, crowd.worst.median]),
                str(crowd.failed),
                str(crowd.duplicates),
            ]
            for crowd in self.crowds
        ]
        return Table("All at once, one directory", heads, rows)

    def latency_table(self) -> Table:
        heads = ["microseconds a call", "p50", "p90", "p99", "calls"]
        rows = [
            [
                one.name,
                *map(number, [one.p50(), one.percentile(90), one.percentile(99)]),
                f"{sum(map(len, one.batches)):,}",
            ]
            for one in self.series
        ]
        return Table("Latencies", heads, rows)

    def where(self) -> str:
        return "; ".join(f"{name} {value}" for name, value in self.machine.items()) + "."

    def verdict(self) -> str:
        targets = [(row, row.target) for one in self.sections for row in one.rows if row.target is not None]
        missed = [row.what for row, target in targets if not target.met]
        met = f"{len(targets) - len(missed)} of {len(targets)} targets met."
        return f"{met} Missed: {'; '.join(missed)}." if missed else met

    def data(self) -> dict[str, Any]:
        return {
            "machine": self.machine,
            "targets": [
                {"section": one.title, "rows": [row.data() for row in one.rows]} for one in self.sections
            ],
            "latencies_us": [
                {
                    "name": one.name,
                    "p50": one.p50(),
                    "p90": one.percentile(90),
                    "p99": one.percentile(99),
                    "calls": sum(map(len, one.batches)),
                    "p50_of_batches": [ns / 1000 for ns in one.medians()],
                }
                for one in self.series
            ],
            "growth_us": self.growth,
            "crowds": [
                {
                    "engine": crowd.engine,
                    "processes": crowd.processes,
                    "calls": crowd.calls,
                    "leases_per_second": crowd.throughput._asdict(),
                    "p50_ms": crowd.p50,
                    "p99_ms": crowd.p99,
                    "worst_ms": crowd.worst._asdict(),
                    "failed": crowd.failed,
                    "duplicates": crowd.duplicates,
                }
                for crowd in self.crowds
            ],
        }


def with_unit(text: str, unit: str) -> str:
    return f"{text}{unit}" if unit == "x" else f"{text} {unit}".rstrip()


def number(value: float) -> str:
    """Two or three digits, or all of a whole number."""
    size = abs(value)
    if isinstance(value, int) or size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 else f"{value:.2g}"
