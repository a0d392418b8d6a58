"""What the project is made of and what it ships: looked at with every run, not on the day of a release."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from agents import ROOT

# Licences under which everybody may use what trop contains.
LICENCES = {
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSL-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
}

# Only run while building, under a licence that asks something of those who change them.
BUILD_TOOLS = {"cbindgen": "MPL-2.0"}

# Given up by their authors, or with open advisories.
DEAD = {"serde_yaml", "serde_yml", "serde_yaml_ng", "serde_norway", "yaml-rust", "net2", "failure", "dirs"}


def text(path: str) -> str:
    """A file of the project."""
    return (ROOT / path).read_text(encoding="utf-8")


def is_free(expression: str) -> bool:
    """Whether a licence expression can be met with the list alone."""
    words = re.findall(r"[()]|[^()\s]+(?: WITH [^()\s]+)?", expression.replace("/", " OR "))
    meaning = {"AND": "and", "OR": "or", "(": "(", ")": ")"}
    return bool(words) and bool(eval(" ".join(meaning.get(word, str(word in LICENCES)) for word in words)))


@pytest.fixture(scope="module")
def packages() -> list[dict[str, Any]]:
    """Every crate that any part of the project is built from, on any system."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)["packages"]
    assert len(found) > 50
    return found


def test_licences(packages: list[dict[str, Any]]) -> None:
    """Trap 137 (checked at release only)."""
    assert all(is_free(licence) for licence in ["(MIT OR GPL-3.0) AND Unicode-3.0", "GPL-2.0/MIT"])
    assert not any(is_free(licence) for licence in ["MIT AND GPL-3.0", "MPL-2.0", "Apache-2.0 WITH X", ""])
    licences = {package["name"]: package["license"] or "" for package in packages}
    refused = {name: licence for name, licence in licences.items() if not is_free(licence)}
    assert refused == BUILD_TOOLS


def test_dependencies(packages: list[dict[str, Any]]) -> None:
    """Published, alive, and one SQLite only: two in one process would drop each other's locks.

    Trap 137 (checked at release only).
    """
    names = [package["name"] for package in packages]
    assert names.count("libsqlite3-sys") == 1
    assert DEAD.isdisjoint(names)
    foreign = [package for package in packages if not package["manifest_path"].startswith(str(ROOT))]
    assert {package["source"] for package in foreign} == {
        "registry+https://github.com/rust-lang/crates.io-index"
    }
    # Whoever installs a binding gets nothing else with it.
    assert "dependencies" not in json.loads(text("bindings/node/package.json"))
    assert "require" not in text("bindings/go/go.mod")
    assert not re.search(r"^dependencies", text("bindings/python/pyproject.toml"), re.MULTILINE)


def test_oldest_versions(packages: list[dict[str, Any]]) -> None:
    """The oldest compiler is the one that is promised, also by what trop is built from.

    Trap 137 (checked at release only).
    """
    minimum = re.search(r'^rust-version = "([0-9.]+)"', text("Cargo.toml"), re.MULTILINE)
    assert minimum
    number = [int(part) for part in minimum[1].split(".")]
    late = {
        package["name"]: package["rust_version"]
        for package in packages
        if package["rust_version"] and [int(part) for part in package["rust_version"].split(".")[:2]] > number
    }
    assert late == {}
    # Clippy takes its knowledge of that compiler from there, and warnings are errors.
    assert "msrv" not in text("clippy.toml")
    assert "cargo clippy --workspace --all-targets --quiet -- -D warnings" in text("Makefile")
    assert f"Rust {minimum[1]}," in text("README.md")
    assert f"Rust {minimum[1]} or newer" in text("Makefile")
    assert 'requires-python = ">=3.10"' in text("bindings/python/pyproject.toml")
    assert json.loads(text("bindings/node/package.json"))["engines"]["node"] == ">=20"
    assert re.search(r"^go 1\.23(\.0)?$", text("bindings/go/go.mod"), re.MULTILINE)


def test_the_wheel(tmp_path: Path) -> None:
    """Exactly the package, its module and its papers. Trap 137 (checked at release only)."""
    build = [sys.executable, "-m", "maturin", "build", "--release", "--quiet", "--out", str(tmp_path)]
    subprocess.run(build, cwd=ROOT / "bindings" / "python", check=True, capture_output=True)
    (wheel,) = tmp_path.glob("trop_ports-*-cp310-abi3-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        described = archive.read(metadata).decode()
    source = ROOT / "bindings" / "python" / "python"
    written = {path.relative_to(source).as_posix() for path in (source / "trop").rglob("*") if path.is_file()}
    package = {name for name in written if not name.endswith((".so", ".pyc"))}
    assert {"trop/py.typed", "trop/_trop.pyi", "trop/__init__.py"} <= package
    papers = {
        "METADATA",
        "WHEEL",
        "RECORD",
        "entry_points.txt",
        "licenses/LICENSE-APACHE",
        "licenses/LICENSE-MIT",
    }
    info = metadata.removesuffix("METADATA")
    optional = {name for name in names if name.startswith(f"{info}sboms/")}
    assert names - optional == package | {"trop/_trop.abi3.so"} | {info + paper for paper in papers}
    assert "License-Expression: MIT OR Apache-2.0\n" in described
    assert "Requires-Python: >=3.10\n" in described
    assert "Requires-Dist" not in described
