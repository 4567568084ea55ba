"""What a log in a directory survives: its fsync policy, the file system under it, the room that is left."""

from __future__ import annotations

import os
from pathlib import Path

from evermq.adapters.address import Address
from evermq.adapters.inspection import Finding, Inspection
from evermq.adapters.log.options import LogOptions
from evermq.errors import Unavailable
from evermq.traits import Durable

__all__ = ["inspect", "mount_of"]

_IN_MEMORY = {"tmpfs", "ramfs"}
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs", "fuse.glusterfs", "virtiofs"}
_NO_BARRIER = {"nobarrier", "barrier=0"}


async def inspect(address: Address) -> Inspection:
    """Look at the directory, or where it would be made, and change nothing. Raises Unavailable, Misconfigured."""
    options = LogOptions.of(address.options)
    directory = Path(address.place)
    standing = next((each for each in (directory, *directory.parents) if each.exists()), Path("/"))
    if not standing.is_dir() or not os.access(standing, os.R_OK | os.W_OK | os.X_OK):
        raise Unavailable(f"{standing} cannot be used as a log: it is no directory that this user may write to")
    durable, file_system = _file_system(*mount_of(standing.resolve(), Path("/proc/self/mounts").read_text()))
    findings = [_fsync(options), *_writer(options), file_system, _room(standing, options), _journal(directory)]
    return Inspection(min(options.durable, durable), findings)


def _fsync(options: LogOptions) -> Finding:
    if options.fsync == "always":
        return Finding("fsync", "always")
    lost = f"the last {options.interval_ms} ms" if options.fsync == "interval" else "what the kernel still held"
    return Finding(
        "fsync", options.fsync, f"the loss of power takes {lost}: fsync=always keeps all that is acknowledged"
    )


def _writer(options: LogOptions) -> list[Finding]:
    if options.writer == "thread":
        return []
    advice = "while the disk does not answer, all that this event loop does stands still: writer=thread below a ladder"
    return [Finding("writer", options.writer, advice)]


def mount_of(path: Path, mounts: str) -> tuple[str, set[str]]:
    """The type and options of the file system that holds a path, from the text of /proc/mounts."""
    best, found = "", ("unknown", set[str]())
    for line in mounts.splitlines():
        _, escaped, kind, options, *_ = line.split()
        point = escaped.encode().decode("unicode_escape")  # a blank is written as \040
        if path.is_relative_to(point) and len(point) >= len(best):
            best, found = point, (kind, set(options.split(",")))
    return found


def _file_system(kind: str, options: set[str]) -> tuple[Durable, Finding]:
    if kind in _IN_MEMORY:
        advice = "it is memory, and gone with the power: choose a directory on a disk"
        return Durable.PROCESS, Finding("file system", kind, advice)
    if off := _NO_BARRIER & options:
        advice = f"mounted with {min(off)} fsync does not reach the disk: mount it without"
        return Durable.PROCESS, Finding("file system", kind, advice)
    if kind in _NETWORK:
        advice = "a lock and an fsync are worth what the server behind it makes of them: prefer a local disk"
        return Durable.DISK, Finding("file system", kind, advice)
    return Durable.DISK, Finding("file system", kind)


def _room(standing: Path, options: LogOptions) -> Finding:
    found = os.statvfs(standing)
    free = found.f_bavail * found.f_frsize
    wanted = options.bytes_max or options.retain_bytes
    advice = (
        ""
        if free > wanted
        else f"less than {wanted >> 20} MiB, to which the log may grow: free space or lower bytes_max"
    )
    return Finding("free space", f"{free >> 20} MiB", advice)


def _journal(directory: Path) -> Finding:
    sizes = [each.stat().st_size for each in directory.glob("segment-*")] if directory.is_dir() else []
    if not sizes:
        return Finding("journal", "not made yet")
    return Finding("journal", f"{len(sizes)} segments, {sum(sizes) >> 20} MiB")
