"""What one process knows of a rung, or of a lane of the primary."""

from __future__ import annotations

from evermq.ha.breaker import Breaker, Pace, State
from evermq.ha.health import Health, Limits

__all__ = ["Scope"]


class Scope:
    """probed: something else than the traffic tries it while it is away."""

    def __init__(self, limits: Limits, pace: Pace, now_ms: int) -> None:
        self.health = Health(limits)
        self.breaker = Breaker(pace, now_ms)
        self.state = State.NORMAL
        self.good_ms: int | None = None  # when it last answered, None after it did not
        self.bad_ms = now_ms
        self.try_ms = 0
        self.probed = False
        self.turn = 0  # of a lane: how often something was to go there while it was away
        self.trouble = ""  # why it failed when it was tried last
        self.refuses = False  # it did not fail, but said no
        self.told_ms = now_ms
        self.was_told = False
        self.agreed_trips = 0  # how often it had tripped when it was last agreed to be away
        self.follows = False  # it is away because others said so, and nothing bad was seen of it here

    def opinion(self, agreed: State) -> State:
        """What to say of it where it is away here. One that keeps its dwell behind the others, who have come back from
        the same outage, says nothing against it while all it sees is well: of idle processes, it may be the only one
        that has something to say."""
        breaker = self.breaker
        came_back = agreed is not State.DEGRADED and self.agreed_trips == breaker.trips
        behind = breaker.state is State.DEGRADED and breaker.is_well and came_back
        return State.RETURNING if behind else breaker.state
