"""Two plots as SVG, readable on light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from report import Report, number

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 78, 36, 84, 58
"""Of the area with the lines, from the edges."""

INK, FAINT = "#24292f", "#d8dee4"
TROP, OTHER = "#0969da", "#bc4c00"


class Axis(NamedTuple):
    """The ticks are in order; the axis goes from the first to the last."""

    label: str
    ticks: Sequence[float]
    is_logarithmic: bool

    def place(self, value: float) -> float:
        """0 at the beginning, 1 at the end."""
        scale = math.log10 if self.is_logarithmic else float
        first, last = scale(self.ticks[0]), scale(self.ticks[-1])
        return (scale(value) - first) / (last - first)


class Line(NamedTuple):
    name: str
    colour: str
    points: Sequence[tuple[float, float]]
    labels_below: bool = False


def growth(report: Report) -> str:
    """The time of a new reservation against the ports that are taken."""
    trop = [(point["taken"], point["trop"]) for point in report.growth]
    floor = [(point["taken"], point["floor"]) for point in report.growth]
    most = max(us for _, us in trop + floor)
    return draw(
        "A new reservation, by ports that are taken already",
        Axis("ports taken", [taken for taken, _ in trop], is_logarithmic=True),
        Axis("median, microseconds", steps(most), is_logarithmic=False),
        [
            Line("trop", TROP, trop),
            Line("the least a reservation can cost", OTHER, floor, labels_below=True),
        ],
    )


def crowd(report: Report) -> str:
    """The longest wait against the number of processes."""
    lines = {
        engine: [(one.processes, one.worst.median) for one in report.crowds if one.engine == engine]
        for engine in ("trop", "gap query")
    }
    waits = [wait for points in lines.values() for _, wait in points]
    # The lowest has its label below.
    lowest, highest = math.floor(math.log10(min(waits) / 3)), math.ceil(math.log10(max(waits)))
    return draw(
        "The longest wait for a lease, when all processes ask at once",
        Axis("processes", [processes for processes, _ in lines["trop"]], is_logarithmic=True),
        Axis(
            "longest wait, milliseconds",
            [10.0**decade for decade in range(lowest, highest + 1)],
            is_logarithmic=True,
        ),
        [
            Line("SQLite's busy handler, gap query", OTHER, lines["gap query"]),
            Line("trop", TROP, lines["trop"], labels_below=True),
        ],
    )


def steps(most: float) -> list[float]:
    """From 0 to a round number that is not less than `most`, in about five round steps."""
    rough = most / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [step * count for count in range(math.ceil(most / step) + 1)]


def draw(title: str, x: Axis, y: Axis, lines: Sequence[Line]) -> str:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return LEFT + x.place(point[0]) * (right - LEFT), bottom - y.place(point[1]) * (bottom - TOP)

    parts = [text(LEFT, 32, title, size=17, weight="bold")]
    for tick in y.ticks:
        _, level = at((x.ticks[0], tick))
        parts += [
            stroke(FAINT, 1, [(LEFT, level), (right, level)]),
            text(LEFT - 10, level + 5, plain(tick), "end"),
        ]
    for tick in x.ticks:
        place, _ = at((tick, y.ticks[0]))
        parts += [
            stroke(INK, 1, [(place, bottom), (place, bottom + 5)]),
            text(place, bottom + 22, plain(tick), "middle"),
        ]
    parts.append(stroke(INK, 1, [(LEFT, bottom), (right, bottom)]))
    parts.append(text((LEFT + right) / 2, HEIGHT - 12, x.label, "middle"))
    middle = (TOP + bottom) / 2
    parts.append(f'<g transform="rotate(-90 20 {middle:.0f})">{text(20, middle, y.label, "middle")}</g>')
    key = float(LEFT)
    for line in lines:
        parts += [stroke(line.colour, 3, [(key, 56), (key + 24, 56)]), text(key + 31, 61, line.name)]
        key += 60 + 7.2 * len(line.name)
        places = [at(point) for point in line.points]
        parts.append(stroke(line.colour, 2.5, places))
        for (across, level), (_, value) in zip(places, line.points, strict=True):
            parts.append(f'<circle cx="{across:.1f}" cy="{level:.1f}" r="4" fill="{line.colour}"/>')
            anchor = "start" if across == LEFT else "end" if across > right - 1 else "middle"
            offset = 20 if line.labels_below else -10
            parts.append(text(across, level + offset, number(value), anchor, colour=line.colour))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
            f'height="{HEIGHT}" font-family="Helvetica, Arial, sans-serif" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        ]
    )


def text(
    x: float,
    y: float,
    what: str,
    anchor: str = "start",
    size: int = 14,
    weight: str = "normal",
    colour: str = INK,
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
        f'fill="{colour}" stroke="#ffffff" stroke-width="4" paint-order="stroke">{escape(what)}</text>'
    )


def stroke(colour: str, width: float, points: Sequence[tuple[float, float]]) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def plain(value: float) -> str:
    return f"{value:,.10g}"
