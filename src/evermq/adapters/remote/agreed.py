"""What all processes that share a place have to agree on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from evermq.errors import Misconfigured
from evermq.port import Place, Start

__all__ = ["HasDamages", "HasSettings", "MayFail", "Resets", "check_agreed"]


@runtime_checkable
class HasSettings(Protocol):
    """A place whose owner's options bind whoever else uses it."""

    @property
    def settings(self) -> Mapping[str, str]: ...


@runtime_checkable
class HasDamages(Protocol):
    """A place that knows what of it is not intact."""

    @property
    def damages(self) -> Sequence[object]: ...


@runtime_checkable
class Resets(Protocol):
    """A place that can move a group."""

    async def reset(self, topic: str, group: str, start: Start) -> None: ...


@runtime_checkable
class MayFail(Place, Protocol):
    """A place that a failed write closes to appends until it is opened anew."""

    @property
    def has_failed(self) -> bool: ...
    def takes_writes(self) -> bool:
        """Whether its disk does, by trying; from any thread, for as long as the disk takes."""
        ...


def check_agreed(where: str, asked: Mapping[str, str], kept: Mapping[str, str], pid: int) -> None:
    """Raise Misconfigured where the owner keeps to something else than was asked for. What an older one does not tell
    is taken as it is."""
    differing = [name for name, value in asked.items() if kept.get(name, value) != value]
    if differing:
        raise Misconfigured(
            f"{where} is owned by process {pid} with {_given(differing, kept)}, which counts for all, and not "
            f"{_given(differing, asked)}: leave {', '.join(differing)} out, give all processes the same, or end that "
            "one and open the directory before it does"
        )


def _given(names: Iterable[str], values: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={values[name]}" for name in names)
