"""Looking at and preparing data directories. This process never loads trop, so it may use its own SQLite."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

# The ports of this suite: each suite of the project has its own, see README.md.
LOWEST, HIGHEST = 10100, 19999

# For programs that name no ports themselves.
RANGE = {
    f"TROP_{use}PORT_{end}": str(port)
    for use in ("", "LEASE_")
    for end, port in (("MIN", LOWEST), ("MAX", HIGHEST))
}


def connect(data_dir: Path) -> sqlite3.Connection:
    """An ordinary connection that leaves transactions to the caller."""
    return sqlite3.connect(data_dir / "trop.db", isolation_level=None, timeout=0)


def rows(data_dir: Path) -> list[tuple[object, ...]]:
    """Every row of the registry, timestamps included."""
    with closing(connect(data_dir)) as connection:
        return connection.execute("SELECT * FROM reservations ORDER BY path, tag").fetchall()


def integrity(data_dir: Path) -> str:
    """What SQLite says of the file: 'ok'."""
    with closing(connect(data_dir)) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])


def fingerprint(path: Path) -> dict[str, str]:
    """A digest of a file, or of each file in a data directory but the one SQLite's readers write to."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if not file.name.endswith("-shm")
    }


def free_ports(count: int) -> range:
    """Neighbouring ports that nothing has bound now."""
    for _ in range(1000):
        first = random.randrange(LOWEST, HIGHEST - count)
        if all(is_free(port) for port in range(first, first + count)):
            return range(first, first + count)
    raise AssertionError(f"no {count} neighbouring free ports on this machine")


def is_free(port: int) -> bool:
    """Whether the port can be bound on loopback, TCP and UDP, IPv4 and (where there is one) IPv6."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            try:
                with socket.socket(family, kind) as probe:
                    probe.bind((address, port))
            except OSError as error:
                if family == socket.AF_INET or error.errno not in (97, 99):
                    return False
    return True


def prepare(kind: str, directory: Path) -> Path:
    """Makes a data directory of the kind that a scenario names."""
    data_dir = directory / "data"
    if kind == "missing":
        return directory / "made" / "with" / "parents"
    if kind == "file":
        data_dir.write_text("not a directory")
        return data_dir
    if kind == "unwritable":
        if os.geteuid() == 0:
            assert sys.platform == "linux", "root may write everywhere but in /proc"
            return Path("/proc/trop-cannot-be-made")
        data_dir.mkdir()
        data_dir.chmod(0o500)
        return data_dir / "below"
    data_dir.mkdir()
    if kind == "not_sqlite":
        (data_dir / "trop.db").write_bytes(b"This is a letter, not a database.\n" * 200)
    elif kind in ("newer", "older", "bad_row"):
        version = {"newer": "3", "older": "1", "bad_row": "2"}[kind]
        with closing(connect(data_dir)) as connection:
            connection.executescript(VERSION_1 if kind == "older" else SCHEMA.format(version=version))
            if kind == "bad_row":
                connection.execute(
                    "INSERT INTO reservations VALUES ('not/absolute', '', 5000, NULL, NULL, 1, 1)"
                )
    else:
        assert kind == "fresh", kind
    return data_dir


# Schema version 1: no STRICT, no checks, a tag may be NULL.
VERSION_1 = """
CREATE TABLE metadata (key TEXT PRIMARY KEY, value TEXT);
INSERT INTO metadata VALUES ('schema_version', '1');
CREATE TABLE reservations (
    path TEXT NOT NULL,
    tag TEXT,
    port INTEGER NOT NULL UNIQUE,
    project TEXT,
    task TEXT,
    created_at INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL,
    PRIMARY KEY (path, tag)
);
CREATE INDEX idx_reservations_port ON reservations (port);
CREATE INDEX idx_reservations_project ON reservations (project);
CREATE INDEX idx_reservations_last_used ON reservations (last_used_at);
INSERT INTO reservations VALUES ('/w/old', NULL, 5000, NULL, NULL, 1, 1);
"""

# Schema version 2 as another program would make it.
SCHEMA = """
CREATE TABLE metadata (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) STRICT;
INSERT INTO metadata VALUES ('schema_version', '{version}');
CREATE TABLE reservations (
    path TEXT NOT NULL,
    tag TEXT NOT NULL,
    port INTEGER NOT NULL UNIQUE CONSTRAINT valid_port CHECK (port BETWEEN 1 AND 65535),
    project TEXT,
    task TEXT,
    created_at INTEGER NOT NULL CONSTRAINT valid_created_at CHECK (created_at >= 0),
    last_used_at INTEGER NOT NULL CONSTRAINT valid_last_used_at CHECK (last_used_at >= 0),
    PRIMARY KEY (path, tag)
) STRICT;
CREATE INDEX idx_reservations_port ON reservations (port);
CREATE INDEX idx_reservations_project ON reservations (project);
CREATE INDEX idx_reservations_last_used ON reservations (last_used_at);
"""
