"""Mounts an empty file system that is served by a program (FUSE), to see that trop keeps away from it.

    python3 tests/fuse_holder.py TYPE DIRECTORY

TYPE is what `/proc/self/mountinfo` is to say, such as `fuse.sshfs`. It returns when the file system is
mounted, and serves it in the background until it is unmounted, for a minute at most. It needs root and
nothing but Python.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys

# Operations of include/uapi/linux/fuse.h; everything else is not supported.
LOOKUP, FORGET, GETATTR, STATFS, INIT, BATCH_FORGET = 1, 2, 3, 17, 26, 42
ENOENT, ENOSYS = 2, 38

HEADER = struct.Struct("<IIQQIIII")
ANSWER = struct.Struct("<IiQ")

# The root directory, 0777.
ATTRIBUTES = struct.pack("<6Q10I", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40777, 2, 0, 0, 0, 4096, 0)
BODIES = {
    GETATTR: struct.pack("<QII", 1, 0, 0) + ATTRIBUTES,
    STATFS: struct.pack("<5Q4I24x", 1, 1, 1, 1, 1, 4096, 255, 4096, 0),
    INIT: struct.pack("<4I2H2I2H32x", 7, 31, 4096, 0, 0, 0, 4096, 1, 0, 0),
}


def serve(device: int) -> None:
    """Answers the kernel until the file system is unmounted."""
    while True:
        try:
            request = os.read(device, 1 << 20)
        except OSError:
            return
        _, operation, unique, *_ = HEADER.unpack_from(request)
        if operation in (FORGET, BATCH_FORGET):
            continue
        body = BODIES.get(operation, b"")
        error = 0 if body else ENOENT if operation == LOOKUP else ENOSYS
        os.write(device, ANSWER.pack(ANSWER.size + len(body), -error, unique) + body)


def main() -> None:
    kind, directory = sys.argv[1:]
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", os.fsencode(directory), kind.encode(), 0, options.encode()) != 0:
        sys.exit(f"cannot mount {kind}: {os.strerror(ctypes.get_errno())}")
    if os.fork() == 0:
        signal.alarm(60)
        serve(device)


if __name__ == "__main__":
    main()
