"""Holds the layers: each folder of trop-core imports only from those below it, and files in no circle.

In the other crates only circles count.

Reads what the files name as `crate::...`, `super::...` and `self::...`, in `use` lines and elsewhere, outside
of their test modules. A folder stands for all of its files; a name that a folder's `mod.rs` re-exports counts
as an import of that `mod.rs`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "trop-core" / "src"
OTHERS = [ROOT / crate / "src" for crate in ("trop-ffi", "bindings/python", "bindings/node", "examples/cli")]

# From the top down. CONTRIBUTING.md says what each is for.
LAYERS = ["lib", "operations", "registry", "config", "machine", "store", "fork", "os", "model"]

RULE = f"the rule is: each of {', '.join(LAYERS[1:])} imports only from those after it"

# A file of one of these names is the module that its folder is.
ROOTS = ("mod", "lib", "main")

Module = tuple[str, ...]

NAME = re.compile(r"\b(?:crate|super|self)(?:::\w+)+")
USE = re.compile(r"^\s*(?:pub(?:\([^)]*\))? )?use ([^;]+);", re.MULTILINE)


def module(path: Path, source: Path) -> Module:
    """The module that a file is: `("registry",)` for `registry/mod.rs`, `()` for `lib.rs`."""
    parts = path.relative_to(source).with_suffix("").parts
    return parts[:-1] if parts[-1] in ROOTS else parts


def without_tests(text: str) -> str:
    """The text with comments, strings and test modules blanked, so that lines keep their numbers."""
    text = re.sub(r"//[^\n]*|pub\(in [^)]*\)", "", text)
    text = re.sub(r'"(?:\\.|[^"\\])*"', '""', text)
    start = re.search(r"^\s*#\[cfg\((?:all\()?test\b[^\n]*\n\s*(?:pub\S* )?mod tests \{", text, re.MULTILINE)
    return text[: start.start()] if start else text


def expanded(tree: str) -> Iterator[str]:
    """The paths of a `use` tree such as `super::{a, b::{c, d}}`."""
    tree = " ".join(tree.split())
    head, brace, rest = tree.partition("{")
    if not brace:
        yield tree.partition(" as ")[0].strip()
        return
    depth, item = 0, ""
    for character in rest[: rest.rindex("}")]:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            yield from expanded(head + item.strip())
            item = ""
        else:
            item += character
    if item.strip():
        yield from expanded(head + item.strip())


def names(text: str) -> Iterator[tuple[int, str]]:
    """The lines and the paths that begin with `crate`, `super` or `self`."""
    for found in USE.finditer(text):
        line = text.count("\n", 0, found.start(1)) + 1
        yield from ((line, path) for path in expanded(found[1]))
    rest = USE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    for found in NAME.finditer(rest):
        yield rest.count("\n", 0, found.start()) + 1, found[0]


def resolved(
    path: str, own: tuple[str, ...], is_folder: bool, modules: set[tuple[str, ...]]
) -> tuple[str, ...] | None:
    """The module that a path names, or none if it is not one of this crate's."""
    first, *rest = path.split("::")
    if first == "crate":
        base: Module = ()
    elif first == "self":
        base = own
    elif first == "super":
        base = own[:-1]
        while rest[:1] == ["super"]:
            base, rest = base[:-1], rest[1:]
    elif is_folder and (*own, first) in modules:
        base, rest = own, [first, *rest]
    else:
        return None
    while rest and (*base, rest[0]) in modules:
        base, rest = (*base, rest[0]), rest[1:]
    return base


def imports(source: Path) -> dict[Path, dict[Path, int]]:
    """For each file the files that it imports from, with the first line that does so."""
    files = {module(path, source): path for path in sorted(source.rglob("*.rs"))}
    found: dict[Path, dict[Path, int]] = {}
    for own, path in files.items():
        text = without_tests(path.read_text(encoding="utf-8"))
        found[path] = {}
        for line, name in names(text):
            target = resolved(name, own, path.stem in ROOTS, set(files))
            if target is not None and target != own:
                found[path].setdefault(files[target], line)
    return found


def layer(path: Path, source: Path) -> int:
    """Where the folder of a file stands, counted from the top."""
    return LAYERS.index((*module(path, source), "lib")[0])


def upward(found: dict[Path, dict[Path, int]], source: Path) -> Iterator[str]:
    """The imports from a folder above."""
    for path, targets in found.items():
        for target, line in targets.items():
            if layer(target, source) < layer(path, source):
                place = f"{path.relative_to(source)}:{line}"
                yield f"{place}: imports from {target.relative_to(source)}, which stands above it; {RULE}"


def circles(found: dict[Path, dict[Path, int]]) -> list[list[Path]]:
    """The sets of files that reach each other, by Tarjan's algorithm (1972)."""
    index: dict[Path, int] = {}
    low: dict[Path, int] = {}
    stack: list[Path] = []
    result: list[list[Path]] = []

    def visit(path: Path) -> None:
        index[path] = low[path] = len(index)
        stack.append(path)
        for target in found[path]:
            if target not in index:
                visit(target)
                low[path] = min(low[path], low[target])
            elif target in stack:
                low[path] = min(low[path], index[target])
        if low[path] == index[path]:
            circle = [stack.pop()]
            while circle[-1] != path:
                circle.append(stack.pop())
            if len(circle) > 1:
                result.append(sorted(circle))

    for path in found:
        if path not in index:
            visit(path)
    return result


def report(source: Path) -> list[str]:
    """What breaks the rule in a crate."""
    found = imports(source)
    wrong = list(upward(found, source)) if source == SOURCE else []
    for circle in circles(found):
        lines = [
            f"{path.relative_to(ROOT)}:{found[path][target]} imports from {target.relative_to(source)}"
            for path in circle
            for target in circle
            if target in found[path]
        ]
        wrong.append(f"{len(circle)} files import each other in a circle:\n  " + "\n  ".join(lines))
    return wrong


def main() -> int:
    """0 if the layers hold."""
    wrong = [line for source in [SOURCE, *OTHERS] for line in report(source)]
    for line in wrong:
        print(line)
    print(f"layers: {len(wrong) or 'nothing'} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
