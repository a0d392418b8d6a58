"""Single calls of one process: trop in every language, beside the least they can cost, beside others."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack

from interleave import Series, interleave
from report import Report, at_most
from workers import (
    FLOOR,
    LANGUAGES,
    OWNERS,
    QUIET_PORTS,
    TROP,
    Answer,
    Scratch,
    Size,
    Worker,
    node_peer,
    python_peer,
)

# How often each is asked in a batch: some take milliseconds.
PYTHON_PEERS = {"portpicker": 100, "port-for": 5, "ephemeral-port-reserve": 20}
NODE_PEERS = {"get-port": 100, "portfinder": 50, "detect-port": 50}

LIVE, DEAD = 500, 1_000
"""Other owners of leases."""

TAKEN = (10, 1_000, 10_000, 40_000)
ALL_PORTS = (24_000, 65_535)
"""Wide enough. The ports after 40,000 others are above Linux's ephemeral ports."""

IN_THE_WAY = {0: (20_000, 20_999), 10: (21_000, 21_999), 500: (22_000, 22_999)}
"""How many of the first of some ports other programs have."""


def languages(scratch: Scratch, size: Size, report: Report) -> None:
    """New, hit, touch, lease, open: Rust beside the floor, the others beside Rust."""
    with ExitStack() as stack:
        workers = {
            name: alone(stack, scratch, command) for name, command in {"floor": FLOOR, **LANGUAGES}.items()
        }

        def each(operation: str, count: int = size.batch, undo: str | None = None) -> dict[str, Series]:
            return {
                name: Series(f"{name}: {operation}", workers[name], operation, count, undo)
                for name in LANGUAGES
            }

        def floor(operation: str, of: str, count: int = size.batch, undo: str | None = None) -> Series:
            return Series(f"floor: {of}", workers["floor"], operation, count, undo)

        new = each("new", undo="release")
        new_floor = floor("new", "new", undo="release")
        hit = each("hit")
        lookup = floor("lookup", "look-up")
        lease = each("lease", undo="close")
        lease_floor = floor("new", "new, beside leases", undo="release")
        opened = each("open", 20)
        open_floor = floor("open", "open", 20)
        touched = alone(stack, scratch, TROP)
        touched.ask("fill", size.batch)
        touch = Series("Rust: hit, first of its second", touched, "touch", size.batch)
        bare = floor("bare", "new without probes", undo="release")
        groups = [
            [new_floor, *new.values()],
            [lookup, *hit.values()],
            [lease_floor, *lease.values()],
            [bare, touch],
            [open_floor, *opened.values()],
        ]
        interleave(groups, size.rounds)

    rust = report.section("Rust beside the floor")
    rust.ratio("new", new["Rust"], new_floor, 1.4)
    rust.ratio("lease", lease["Rust"], lease_floor, 1.4)
    hit_us = hit["Rust"].p50()
    rust.add(
        "hit", hit_us, "us", at_most(8, hit_us, "us"), "the key was written in this second", [hit["Rust"]]
    )
    rust.ratio("hit, first of its second", touch, bare, 1.4)
    rust.ratio("open, hit, close", opened["Rust"], open_floor)

    others = report.section("Languages beside Rust")
    others.ratio("C: new", new["C"], new["Rust"], 1.05)
    others.ratio("C: hit", hit["C"], hit["Rust"], 1.05)
    others.ratio("Python: new", new["Python"], new["Rust"], 1.25)
    others.ratio("Python: hit", hit["Python"], hit["Rust"], 2, or_more=1)
    others.ratio("Node: new", new["Node"], new["Rust"], 1.3)
    others.ratio("Node: hit", hit["Node"], hit["Rust"], 2.5, or_more=2)
    others.ratio("Go: new", new["Go"], new["Rust"])
    others.ratio("Go: hit", hit["Go"], hit["Rust"])
    report.series += [series for group in groups for series in group]


def pickers(scratch: Scratch, size: Size, report: Report) -> None:
    """Leases beside packages that pick a port and do not remember to whom they gave it."""
    with ExitStack() as stack:

        def lease(language: str) -> Series:
            worker = alone(stack, scratch, LANGUAGES[language])
            return Series(f"{language}: lease, beside pickers", worker, "lease", size.batch, "close")

        def pick(name: str, command: list[str], count: int) -> Series:
            return Series(name, stack.enter_context(Worker(scratch, command)), "pick", count)

        python = lease("Python")
        python_peers = [
            pick(f"{name} (PyPI)", python_peer(name), count) for name, count in PYTHON_PEERS.items()
        ]
        node = lease("Node")
        node_peers = [pick(f"{name} (npm)", node_peer(name), count) for name, count in NODE_PEERS.items()]
        groups = [[python, *python_peers], [node, *node_peers]]
        interleave(groups, size.rounds)

    section = report.section("Leases beside pickers without any guarantee between processes")
    for own, peers, limit in [(python, python_peers, 1.3), (node, node_peers, 0.9)]:
        language = own.name.split(":")[0]
        # The first of each is the one that is meant.
        for peer, at_most_ in zip(peers, [limit, None, None], strict=True):
            section.ratio(f"{language}: lease beside {peer.name}", own, peer, at_most_)
    report.series += [series for group in groups for series in group]


def owners(scratch: Scratch, size: Size, report: Report) -> None:
    """Leases where many others have some, or had until a moment ago."""
    with ExitStack() as stack:
        alive = scratch.data_dir()
        stack.enter_context(Worker(scratch, OWNERS, LIVE, alive, *QUIET_PORTS))
        with_live = stack.enter_context(Worker(scratch, TROP, alive, *QUIET_PORTS))
        floor = Series(
            "floor: new, beside other owners", alone(stack, scratch, FLOOR), "new", size.batch, "release"
        )
        leases = {
            f"{LIVE} others alive": Series(
                f"Rust: lease, {LIVE} others alive", with_live, "lease", size.batch, "close"
            ),
            f"{DEAD:,} others just killed": Series(
                f"Rust: lease, {DEAD:,} others just killed", AfterDeath(scratch, 0), "lease", 100
            ),
            "both": Series("Rust: lease, both", AfterDeath(scratch, LIVE), "lease", 100),
        }
        # It takes seconds to make and kill them.
        interleave([[floor, *leases.values()]], size.rounds // 2)
    section = report.section("Rust beside the floor, other owners of leases")
    for what, lease in leases.items():
        section.ratio(f"lease, {what}", lease, floor, 1.4)
    report.series += [floor, *leases.values()]


class AfterDeath:
    """A worker in a data directory in which many owners have just been killed.

    Allocations remove what is left of them, so each batch has a directory and dead of its own, and is so
    short that they last to its end. Those who live became owners together with them and stand in between.
    """

    def __init__(self, scratch: Scratch, live: int) -> None:
        self.scratch = scratch
        self.live = live

    def ask(self, operation: str, count: int) -> Answer:
        with ExitStack() as stack:
            data_dir = self.scratch.data_dir()
            worker = stack.enter_context(Worker(self.scratch, TROP, data_dir, *QUIET_PORTS))
            worker.ask(operation, count)
            worker.ask("close", count)
            others = [
                Worker(self.scratch, OWNERS, number, data_dir, *QUIET_PORTS)
                for number in (DEAD, self.live)
                if number
            ]
            for other in others:
                stack.enter_context(other)
            others[0].kill()
            answer = worker.ask(operation, count)
            # Ending their leases one by one would take longer.
            others[-1].kill()
            return answer


def growth(scratch: Scratch, size: Size, report: Report) -> None:
    """New reservations where many ports are taken."""
    with ExitStack() as stack:

        def filled(name: str, command: list[str], fill: str, taken: int) -> Series:
            worker = alone(stack, scratch, command, ALL_PORTS)
            worker.ask(fill, taken)
            return Series(f"{name}: new, {taken:,} taken", worker, "new", size.batch, "release")

        rust = {taken: filled("Rust", TROP, "fill", taken) for taken in TAKEN}
        floor = {taken: filled("floor", FLOOR, "bare", taken) for taken in TAKEN}
        interleave([[*rust.values(), *floor.values()]], size.rounds)
    section = report.section("Growth")
    least, *_, most = TAKEN
    section.ratio(f"new, {most:,} ports taken beside {least}", rust[most], rust[least], 1.25)
    section.ratio(f"the floor, {most:,} ports taken beside {least}", floor[most], floor[least])
    report.growth = [
        {"taken": taken, "trop": rust[taken].p50(), "floor": floor[taken].p50()} for taken in TAKEN
    ]
    report.series += [*rust.values(), *floor.values()]


def in_the_way(scratch: Scratch, size: Size, report: Report) -> None:
    """New reservations where other programs listen on the ports that would be given out first."""
    with ExitStack() as stack:
        new = {}
        for occupied, ports in IN_THE_WAY.items():
            for port in range(ports[0], ports[0] + occupied):
                occupy(stack, port)
            worker = alone(stack, scratch, TROP, ports)
            new[occupied] = Series(f"Rust: new, {occupied} occupied", worker, "new", size.batch, "release")
        interleave([list(new.values())], size.rounds)
    section = report.section("Ports that other programs have, in the way")
    for occupied in list(new)[1:]:
        section.ratio(f"new, {occupied} occupied beside none", new[occupied], new[0])
    report.series += new.values()


def alone(
    stack: ExitStack, scratch: Scratch, command: Sequence[str], ports: tuple[int, int] = QUIET_PORTS
) -> Worker:
    """A worker that nobody shares its data directory with."""
    return stack.enter_context(Worker(scratch, command, scratch.data_dir(), *ports))


def occupy(stack: ExitStack, port: int) -> None:
    listener = stack.enter_context(socket.socket())
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()
    except OSError:
        # Somebody else has it, which does as well.
        pass
