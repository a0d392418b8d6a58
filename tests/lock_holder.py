"""Holds a lock on a registry's database in a process of its own, for the tests of every language.

    python3 tests/lock_holder.py DATABASE [MODE] [--then SQL]

MODE is one of:

    write       BEGIN IMMEDIATE: the write lock, the default
    exclusive   BEGIN EXCLUSIVE
    read        a transaction that has read the reservations
    open        connected, has read the reservations, in no transaction

It waits up to a minute for the lock, prints the line `locked` once it has it, and keeps it until it reads a
line or the end of its input. Then it runs the SQL, if there is any, commits, and exits with 0. Ended by a
signal, it changes nothing.

It is a process of its own, because a second copy of SQLite in a process that has loaded trop would drop
trop's locks. It needs nothing but Python.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys

# What each mode runs before it prints `locked`.
MODES = {
    "write": ["BEGIN IMMEDIATE"],
    "exclusive": ["BEGIN EXCLUSIVE"],
    "read": ["BEGIN", "SELECT * FROM reservations"],
    "open": ["SELECT * FROM reservations"],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Holds a lock on a database until its input has a line or ends."
    )
    parser.add_argument("database")
    parser.add_argument("mode", nargs="?", choices=MODES, default="write")
    parser.add_argument("--then", metavar="SQL", help="a statement to run before the lock is given up")
    arguments = parser.parse_args()
    connection = sqlite3.connect(arguments.database, isolation_level=None, timeout=60)
    for statement in MODES[arguments.mode]:
        connection.execute(statement).fetchall()
    print("locked", flush=True)
    sys.stdin.readline()
    if arguments.then:
        connection.execute(arguments.then)
    if connection.in_transaction:
        connection.execute("COMMIT")
    connection.close()


if __name__ == "__main__":
    main()
