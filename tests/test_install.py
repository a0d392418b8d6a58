"""What is installed works outside the checkout."""

from __future__ import annotations

import os
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


def test_a_c_program_uses_an_installed_prefix(tmp_path: Path, env: dict[str, str]) -> None:
    """The library, its SONAME link, the header and trop.pc are enough."""
    prefix = tmp_path / "prefix"
    make = ["make", "--no-print-directory", "-C", str(ROOT), "install", f"PREFIX={prefix}"]
    subprocess.run(make, check=True, capture_output=True)
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
        env={**os.environ, **env},
        check=True,
        capture_output=True,
        text=True,
    )
    rows = registry_files.rows(Path(env["TROP_DATA_DIR"]))
    assert [(row[0], row[2]) for row in rows] == [(str(tmp_path.resolve()), int(done.stdout))]
