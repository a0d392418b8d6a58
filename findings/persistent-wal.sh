#!/bin/sh
# A write-ahead log that SQLite keeps after the last connection has closed (SQLITE_FCNTL_PERSIST_WAL) grows
# with every program that makes one change, and any size limit empties it.
#
# One would guess: the last connection moves the whole log into the database when it closes, so the next
# program begins the log anew, and the kept file stays about as long as one change. And journal_size_limit =
# 100000 leaves what is shorter than that alone.
#
# Seen: the next program takes everything in the kept file for changes that are still to be moved, and appends
# its own. It could begin anew only with a second change, after a checkpoint of its own. And at close a limit
# of any size cuts the kept file to nothing.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check apsw==3.54.1.0
"$work/venv/bin/python" - "$work" <<'PYTHON'
import ctypes
import os
import sys

import apsw

CHANGES = 500


def log_sizes(name, limit=None):
    """The length of the log after the first and after the last of many openings with one change each."""
    path = os.path.join(sys.argv[1], name)
    sizes = []
    for number in range(CHANGES + 1):
        connection = apsw.Connection(path)
        if number == 0:
            connection.execute("PRAGMA journal_mode = WAL; CREATE TABLE t (a)").fetchall()
        on = ctypes.c_int(1)
        connection.file_control("main", apsw.SQLITE_FCNTL_PERSIST_WAL, ctypes.addressof(on))
        if limit is not None:
            connection.execute(f"PRAGMA journal_size_limit = {limit}").fetchall()
        connection.execute("INSERT INTO t VALUES (1)").fetchall()
        connection.close()
        sizes.append(os.path.getsize(path + "-wal"))
    return sizes[1], sizes[-1]


print(f"apsw {apsw.apsw_version()}, SQLite {apsw.sqlite_lib_version()}")
one, many = log_sizes("kept")
print(f"guess: the log stays about {one} bytes long")
print(f"seen:  {many} bytes after {CHANGES} programs with one change each")
limited, _ = log_sizes("limited", limit=100_000)
print(f"guess: journal_size_limit = 100000 leaves a log of {one} bytes alone")
print(f"seen:  {limited} bytes")
as_described = many > 100 * one and limited == 0
print("as described" if as_described else "CHANGED")
sys.exit(not as_described)
PYTHON
