"""Prints the items of traps.md that no test names, and numbers without words; fails if there are any."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUFFIXES = {".rs", ".py", ".js", ".mjs", ".cts", ".mts", ".go", ".c", ".h", ".sh"}


def items(text: str) -> dict[int, str]:
    """The items of the list by their numbers."""
    return {int(number): line for number, line in re.findall(r"^(\d+)\. (.+)$", text, re.MULTILINE)}


def named(texts: Iterable[str]) -> dict[int, bool]:
    """The numbers in comments such as `Trap 58 (few words).`, and whether words follow each of them."""
    found: dict[int, bool] = {}
    item = r"\d+(?: \([^()]+\))?"
    for text in texts:
        # A comment may go on in the next line.
        flat = re.sub(r"\s*\n\s*(?://[/!]?|#|\*)?\s*", " ", text)
        for several in re.findall(rf"\bTraps? ({item}(?:, {item})*)", flat):
            for number, words in re.findall(r"(\d+)( \([^()]+\))?(?:, |$)", several):
                found[int(number)] = found.get(int(number), True) and bool(words)
    return found


def sources() -> list[Path]:
    """The files of the project that may hold tests, this one aside."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    paths = (ROOT / name for name in listed.split("\0") if name)
    return [path for path in paths if path.suffix in SUFFIXES and path != Path(__file__) and path.exists()]


def report(listed: dict[int, str], found: dict[int, bool]) -> list[str]:
    """What is wrong: items without a test, numbers that are no item, and numbers without words."""
    missing = [f"{number}. {line}" for number, line in sorted(listed.items()) if number not in found]
    unknown = [f"{number} is no trap" for number in sorted(found.keys() - listed.keys())]
    return (
        missing + unknown + [f"{number} has no words" for number, words in sorted(found.items()) if not words]
    )


def main() -> int:
    """0 if every item has a test, and each number its words."""
    listed = items((ROOT / "tests" / "traps.md").read_text(encoding="utf-8"))
    wrong = report(listed, named(path.read_text(encoding="utf-8") for path in sources()))
    for line in wrong:
        print(line)
    print(f"{len(listed)} traps, {len(wrong) or 'nothing'} to mend")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
