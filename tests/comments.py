"""Fails for comments that are longer than a line may be.

Formatters hold the code of each language, and leave comments and texts alone. Ruff looks after Python.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 110

SLASHES = re.compile(r"^\s*(//|/?\*)")
HASH = re.compile(r"^\s*#")
KINDS = {
    **dict.fromkeys([".rs", ".go", ".c", ".h", ".js", ".mjs", ".ts", ".mts", ".cts"], SLASHES),
    **dict.fromkeys([".sh", ".toml"], HASH),
}

# A tab is as wide as gofmt's.
TAB = 4


def too_long(text: str, comment: re.Pattern[str]) -> list[int]:
    """The numbers of the lines that are comments and too long. An address cannot be broken."""
    lines = (line.expandtabs(TAB) for line in text.splitlines())
    return [
        number
        for number, line in enumerate(lines, start=1)
        if len(line) > LIMIT and comment.match(line) and "://" not in line
    ]


def main() -> int:
    """0 if no comment is too long."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    wrong = 0
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        comment = HASH if path.name == "Makefile" else KINDS.get(path.suffix)
        if comment is None or not path.exists():
            continue
        for number in too_long(path.read_text(encoding="utf-8"), comment):
            print(f"{name}:{number}: a comment is longer than {LIMIT} columns")
            wrong += 1
    print(f"comments: {wrong or 'none'} too long")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
