"""What all processes that share a place have to agree on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from evermq.errors import Misconfigured
from evermq.port import Start

__all__ = ["HasSettings", "Resets", "check_agreed"]


@runtime_checkable
class HasSettings(Protocol):
    """A place whose owner's options bind whoever else uses it."""

    @property
    def settings(self) -> Mapping[str, str]: ...


@runtime_checkable
class Resets(Protocol):
    """A place that can move a group."""

    async def reset(self, topic: str, group: str, start: Start) -> None: ...


def check_agreed(where: str, asked: Mapping[str, str], kept: Mapping[str, str], pid: int) -> None:
    """Raise Misconfigured where the owner keeps to something else than was asked for."""
    for name, value in asked.items():
        if kept.get(name, value) != value:
            raise Misconfigured(
                f"{where} is owned by process {pid} with {name}={kept[name]}, which counts for all, and not "
                f"{name}={value}: leave {name} out, or give all processes the same"
            )
