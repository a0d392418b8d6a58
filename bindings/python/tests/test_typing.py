from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trop

PROJECT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "command",
    [("mypy",), ("mypy.stubtest", "trop")],
    ids=["a user's program passes the type checker", "the stubs are what the module has"],
)
def test_types(command: tuple[str, ...]) -> None:
    arguments = [sys.executable, "-m", *command]
    checked = subprocess.run(arguments, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def documented(node: ast.ClassDef | ast.Module, owner: object) -> Iterator[tuple[object, str]]:
    """What a stub documents: each thing with its text."""
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            thing = getattr(owner, child.name)
            if text := ast.get_docstring(child):
                yield thing, text
            if isinstance(child, ast.ClassDef):
                yield from documented(child, thing)


def test_the_stubs_document_the_results_as_the_module_does() -> None:
    stub = ast.parse((PROJECT / "python/trop/_trop.pyi").read_text())
    texts = [*documented(stub, trop._trop)]
    assert [(thing, inspect.getdoc(thing)) for thing, _ in texts] == texts
    kinds = {trop.Cleanup, trop.Explanation, trop.LeaseInfo, trop.Migration, trop.Move, trop.Preserved}
    fields = {getattr(kind, name) for kind in kinds for name in kind.__match_args__}
    assert kinds | fields <= {thing for thing, _ in texts}
