"""A small ext4 on a device of memory (zram) whose writes fail with EIO for as long as they are told to. Needs root."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

_CONTROL = Path("/sys/class/zram-control")
_MKFS = "/sbin/mkfs.ext4"
_ONE_PAGE = "4096"  # as much memory as all writes may take together; what is there already can be read


def why_not() -> str:
    """Why this machine cannot have one, empty if it can."""
    if os.geteuid() != 0:
        return "only root may make a device"
    if not Path(_MKFS).exists():
        return f"{_MKFS} is missing: tools/setup power installs it"
    if not _CONTROL.exists():
        return "there is no zram here: tools/setup power loads it where the kernel has it"
    return ""


class FailingDevice:
    """Mounted at `root / "disk"`; `with` takes everything down again. has_journal: whether the file system has one; if
    so, it is read-only once the journal could not be written, until it is mounted again."""

    def __init__(self, root: Path, megabytes: int, *, has_journal: bool) -> None:
        self._number = (_CONTROL / "hot_add").read_text().strip()
        self._device = f"/dev/zram{self._number}"
        self.mount_point = root / "disk"
        self.mount_point.mkdir()
        try:
            self._set("disksize", f"{megabytes}M")
            features = "has_journal" if has_journal else "^has_journal"
            subprocess.run([_MKFS, "-q", "-F", "-O", features, self._device], check=True)
            self.mount()
        except BaseException:
            self._remove()
            raise

    def fail(self) -> None:
        """From now on: what is written is not taken."""
        self._set("mem_limit", _ONE_PAGE)

    def heal(self) -> None:
        self._set("mem_limit", "0")

    def mount(self) -> None:
        subprocess.run(["mount", self._device, str(self.mount_point)], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.mount_point)], check=True)

    def _set(self, name: str, value: str) -> None:
        Path(f"/sys/block/zram{self._number}/{name}").write_text(value)

    def _remove(self) -> None:
        (_CONTROL / "hot_remove").write_text(self._number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.heal()
        self.unmount()
        self._remove()
