"""A small ext4 of its own on a loop device, whose power can be cut. Needs root."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

# include/uapi/linux/ext4.h: _IOR('X', 125, __u32), and the flag that throws away what the journal has not written.
_EXT4_IOC_SHUTDOWN = 0x8004587D
_GOING_FLAGS_NOLOGFLUSH = 2
_MKFS = "/sbin/mkfs.ext4"


def why_not() -> str:
    """Why this machine cannot have one, empty if it can."""
    if os.geteuid() != 0:
        return "only root may mount a file system"
    if not Path(_MKFS).exists():
        return f"{_MKFS} is missing: tools/setup power installs it"
    if not Path("/dev/loop-control").exists():
        return "there are no loop devices here"
    return ""


class LoopDisk:
    """Mounted at `root / "disk"`; `with` takes everything down again."""

    def __init__(self, root: Path, megabytes: int) -> None:
        self._image = root / "image"
        self.mount_point = root / "disk"
        self.mount_point.mkdir()
        with open(self._image, "wb") as image:
            image.truncate(megabytes << 20)
        subprocess.run([_MKFS, "-q", "-F", str(self._image)], check=True)
        self.mount()

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self.mount_point)], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.mount_point)], check=True)

    def cut_power(self, pids: Sequence[int]) -> None:
        """Freeze the processes, so that none of them is told anything more, cut, kill them, and mount it again."""
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        for pid in pids:
            _wait_until_stopped(pid)
        self._shut_down()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self.unmount()
        self.mount()

    def _shut_down(self) -> None:
        fd = os.open(self.mount_point, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, _EXT4_IOC_SHUTDOWN, struct.pack("I", _GOING_FLAGS_NOLOGFLUSH))
        finally:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unmount()


def _wait_until_stopped(pid: int) -> None:
    until = time.monotonic() + 10
    for task in Path(f"/proc/{pid}/task").iterdir():
        while (task / "stat").read_text().rpartition(")")[2].split()[0] not in "TtZX":
            if time.monotonic() > until:
                raise TimeoutError(f"process {pid} does not stop")
            time.sleep(0.001)
