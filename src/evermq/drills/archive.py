"""The drills that were held here: a directory each, with report, picture and figures."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from evermq.errors import Misconfigured

__all__ = ["Held", "find", "held", "home", "new"]

_FILE = "drill.json"
_KEPT = 200


class Held(msgspec.Struct, frozen=True):
    """A drill. id: when it began, and its name. versions: of evermq and of engines that the drill started. figures: of
    the command line's contract. reasons: why the verdict is not PASS. notes: what no transaction judged, and what the
    drill could not remove. order: whether it was kept per key; None of drills from before this was written down."""

    id: str
    drill: str
    fault: str
    engines: list[str]
    began: str
    versions: dict[str, str]
    seed: int
    gates: dict[str, str]
    figures: dict[str, Any]
    reasons: list[str] = []
    notes: list[str] = []
    order: bool | None = None

    @property
    def kept(self) -> str:
        """Of order, in words; empty where nobody wrote it down."""
        return {True: "order kept", False: "no order", None: ""}[self.order]

    def write(self, directory: Path) -> None:
        """Keep it in the directory of its run."""
        (directory / _FILE).write_bytes(msgspec.json.format(msgspec.json.encode(self)))


def home() -> Path:
    """Where drills are kept: $XDG_STATE_HOME/evermq/drills, by default under ~/.local/state."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "evermq" / "drills"


def new(drill: str, where: Path | None = None) -> Path:
    """A directory for a drill that begins now; the oldest drills beyond 200 go."""
    parent = (where or home()).absolute()
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
    path = parent / f"{stamp}Z-{drill}"
    path.mkdir(parents=True)
    for old in sorted(each.parent for each in parent.glob(f"*/{_FILE}"))[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def held(where: Path | None = None) -> list[Held]:
    """All that are kept, the oldest first; what cannot be read is left out."""
    return [each for path in sorted((where or home()).glob(f"*/{_FILE}")) if (each := _read(path))]


def find(id: str | None, where: Path | None = None) -> Held:
    """The drill whose id begins so, the newest of all without one. Raises Misconfigured."""
    found = [each for each in held(where) if each.id.startswith(id or "")]
    if not found:
        raise Misconfigured(f"no drill {id or 'is kept'} in {where or home()}: evermq drill list shows what is there")
    return found[-1]


def _read(path: Path) -> Held | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Held)
    except (OSError, msgspec.DecodeError):
        return None
