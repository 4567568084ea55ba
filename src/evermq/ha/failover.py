"""A ladder: the primary, its standby, and perhaps a last rung; which one is first is a choice."""

from __future__ import annotations

from evermq.clock import SYSTEM, Clock
from evermq.errors import Misconfigured
from evermq.ha.route import Route
from evermq.port import Queue

__all__ = ["Choice", "Failover"]


class Choice:
    """Which rung is tried first, given by hand. `epoch` counts the changes."""

    def __init__(self, rung: int = 0) -> None:
        self.rung = rung
        self.epoch = 0

    def set(self, rung: int) -> None:
        """Begin with this rung from now on."""
        if rung < 0:
            raise Misconfigured(f"rung {rung}: rungs count from 0, the primary")
        if rung != self.rung:
            self.rung = rung
            self.epoch += 1


class Failover(Route):
    """A Route over `primary`, `standby`, further rungs by name, and `last`.

    The choice only says where appends begin: a rung that fails is passed over by itself, and all rungs are read
    all the time, so two processes that disagree on the choice lose nothing. See Route for the rest.
    """

    def __init__(
        self,
        *,
        primary: Queue,
        standby: Queue,
        last: Queue | None = None,
        choice: Choice | None = None,
        append_ms_max: int = 800,
        clock: Clock = SYSTEM,
        **rungs: Queue,
    ) -> None:
        children = {"primary": primary, "standby": standby, **rungs}
        if last is not None:
            children["last"] = last
        self.choice = choice or Choice()
        super().__init__(children, choice=self._begin, append_ms_max=append_ms_max, clock=clock)

    def _begin(self) -> int:
        return min(self.choice.rung, len(self._keys) - 1)
