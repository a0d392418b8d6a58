"""What is installed works outside the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import registry_files
from agents import ROOT

PROGRAM = r"""
#include <stdio.h>
#include <trop.h>

int main(void) {
    trop_registry *registry = NULL;
    trop_reservation *reservation = NULL;
    int32_t status = trop_open(NULL, &registry, NULL);
    if (status == TROP_OK) {
        status = trop_reserve(registry, NULL, &reservation, NULL);
    }
    printf("%d\n", trop_reservation_port(reservation));
    trop_reservation_free(reservation);
    trop_registry_free(registry);
    return status == TROP_OK ? 0 : 1;
}
"""


def install(prefix: Path) -> Path:
    """Installs everything and returns the prefix."""
    make = ["make", "--no-print-directory", "-C", str(ROOT), "install", f"PREFIX={prefix}"]
    subprocess.run(make, check=True, capture_output=True)
    return prefix


def test_a_c_program_uses_an_installed_prefix(tmp_path: Path, env: dict[str, str]) -> None:
    """The library, its SONAME link, the header and trop.pc are enough."""
    prefix = install(tmp_path / "prefix")
    if shutil.which("pkg-config") is None:
        pytest.skip("pkg-config is not installed")
    asked = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "trop"],
        env={**os.environ, "PKG_CONFIG_PATH": str(prefix / "lib" / "pkgconfig")},
        check=True,
        capture_output=True,
        text=True,
    )
    flags = asked.stdout.split()
    assert flags == [f"-I{prefix}/include", f"-L{prefix}/lib", "-ltrop"]
    (tmp_path / "program.c").write_text(PROGRAM)
    strict = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror"]
    subprocess.run(
        ["cc", *strict, "program.c", "-o", "program", *flags, f"-Wl,-rpath,{prefix}/lib"],
        cwd=tmp_path,
        check=True,
    )
    done = subprocess.run(
        [str(tmp_path / "program")],
        cwd=tmp_path,
        env={**os.environ, **env, **registry_files.RANGE},
        check=True,
        capture_output=True,
        text=True,
    )
    rows = registry_files.rows(Path(env["TROP_DATA_DIR"]))
    assert [(row[0], row[2]) for row in rows] == [(str(tmp_path.resolve()), int(done.stdout))]


def test_the_command_comes_with_its_manual_page_and_completions(tmp_path: Path, env: dict[str, str]) -> None:
    """They lie where man and the shells look, and say what the installed command can do.

    Trap 123 (a manual written by hand).
    """
    prefix = install(tmp_path / "prefix")
    share = prefix / "share"

    def trop(*arguments: str) -> str:
        command = [str(prefix / "bin" / "trop"), *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True, text=True)
        return done.stdout

    listed = trop("--help").split("Commands:\n")[1].split("\n\n")[0]
    commands = [line.split()[0] for line in listed.splitlines()]
    assert len(commands) > 20
    page = (share / "man" / "man1" / "trop.1").read_text()
    sections = re.findall(r'^\.SH "?(.*?)"?$', page, re.MULTILINE)
    assert sections[:3] == ["NAME", "SYNOPSIS", "DESCRIPTION"]
    assert [f"TROP {name.upper()}" for name in commands] == [
        section for section in sections if section.startswith("TROP ")
    ]
    requests = set(re.findall(r"^\.([A-Za-z]+)", page, re.MULTILINE))
    assert requests <= {"TH", "SH", "SS", "TP", "PP", "RS", "RE", "IP", "br", "nf", "fi", "ie", "el"}, (
        requests
    )
    assert len(re.findall(r"^\.TH trop 1 ", page, re.MULTILINE)) == 1
    scripts = ["bash-completion/completions/trop", "zsh/site-functions/_trop"]
    for file in [*scripts, "fish/vendor_completions.d/trop.fish"]:
        script = (share / file).read_text()
        assert all(name in script for name in commands), file
    installed = [path for path in prefix.rglob("*") if path.is_file() and not path.is_symlink()]
    modes = {path.relative_to(prefix).as_posix(): path.stat().st_mode & 0o777 for path in installed}
    executable = {name for name, mode in modes.items() if mode == 0o755}
    assert executable == {"bin/trop", next(name for name in modes if name.startswith("lib/libtrop.so."))}
    assert all(mode == 0o644 for name, mode in modes.items() if name not in executable), modes
