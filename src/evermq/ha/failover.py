"""A ladder: the primary, its standby, and perhaps a last rung; which one is first is a choice."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property

from evermq.admission import admit
from evermq.clock import SYSTEM, Clock
from evermq.errors import Denied, EvermqError, NoSuchTopic, Partial, Unavailable
from evermq.fields import NOT_A_MESSAGE
from evermq.ha.host_rung import HostRung
from evermq.ha.landing import land
from evermq.ha.merged import Merged
from evermq.ha.outcomes import settled
from evermq.ha.pace import Pace
from evermq.ha.pump import HOPS_BYTES_MAX
from evermq.ha.retained import Retained
from evermq.ha.route import Route
from evermq.ha.steering import Choice, Steers
from evermq.ha.together import close_all, together
from evermq.lanes import lane_of
from evermq.message import Message
from evermq.numbers import VOID
from evermq.port import Queue, Start
from evermq.position import Position
from evermq.traits import Traits

__all__ = ["APPEND_MS_MAX", "Choice", "Failover"]

APPEND_MS_MAX = 800
_HOST_PATIENCE = 4  # times append_ms_max: passed over, the host's own disk leaves nothing that is better


class Failover(Route):
    """A Route over `primary`, `standby`, further rungs by name, and `last`.

    The choice only says where appends begin: a rung that fails is passed over by itself, and all rungs are read
    all the time, so two processes that disagree on the choice lose nothing. It hears what became of every attempt, and
    may divert single lanes of the primary: then a batch is parted, and the parts go their ways side by side. It is
    closed with the ladder. See Route for the rest.

    A HostRung as `last` is not read: what it holds is pumped into the rungs above from `start` on, or from the first
    append or reader. While this process's slot of it holds anything, appends begin there. It is waited for four times
    append_ms_max, since nothing lies below it, and what passes it by overtakes what it holds. keeps_order: nothing
    passes it by then, and an append that it does not take fails.

    retained: by rung, the copies that this host keeps of what that rung acknowledged.

    drain_per_s_max: how many messages a second this process reads from below the primary while the primary has traffic
    for it, so that the return leaves room for what is live; None for no bound.
    """

    def __init__(
        self,
        *,
        primary: Queue,
        standby: Queue,
        last: Queue | None = None,
        choice: Steers | None = None,
        append_ms_max: int = APPEND_MS_MAX,
        drain_per_s_max: int | None = None,
        clock: Clock = SYSTEM,
        **rungs: Queue,
    ) -> None:
        children = {"primary": primary, "standby": standby, **rungs}
        if last is not None:
            children["last"] = last
        self.choice: Steers = choice or Choice()
        self.keeps_order = False
        self.retained: dict[str, Retained] = {}
        self._host = last if isinstance(last, HostRung) else None
        self._is_started = False
        unread = ("last",) if self._host else ()
        super().__init__(children, append_ms_max=append_ms_max, unread=unread, clock=clock)
        self._pace = Pace(drain_per_s_max, clock) if drain_per_s_max is not None else None

    @cached_property
    def traits(self) -> Traits:
        found = super().traits
        # The pump of the last rung adds a header on the way up.
        return replace(found, message_bytes_max=found.message_bytes_max - HOPS_BYTES_MAX) if self._host else found

    @property
    def host(self) -> HostRung | None:
        """The last rung, where it is the host's own."""
        return self._host

    def retain(self, key: str, copies: Retained) -> None:
        """Leave copies of what this rung acknowledges from now on."""
        self.retained[key] = copies
        if self._is_started:
            copies.start()

    @property
    def rungs(self) -> dict[str, Queue]:
        """Those that are read, by configuration key."""
        return {key: child for key, child in self._children.items() if child is not self._host}

    def start(self) -> None:
        """Begin to carry up what the last rung holds; nothing where that is read."""
        if self._host and not self._is_started:
            self._is_started = True
            self._host.start(_Above(self, self._keys[:-1]))
            for each in self.retained.values():
                each.start()

    async def reader(self, group: str, *, start: Start = Start.OLDEST) -> Merged:
        self.start()
        return await super().reader(group, start=start)

    async def append(self, messages: Sequence[Message]) -> Sequence[Position]:
        self.start()
        if self._host:
            await self._host.turn()
        away = self.choice.away()
        if not away:
            return await super().append(messages)
        self._check()
        if not messages:
            return ()
        return await self._append_parted(admit(messages, self.traits, self._clock.now_ms()), away)

    async def close(self) -> None:
        await self.choice.close()
        await close_all(self.retained.values())
        await super().close()

    async def append_above(self, messages: Sequence[Message]) -> Sequence[Position]:
        """As `append`, but never to the last rung, which had acknowledged them: see `land`."""
        return await land(messages, self._steered(self._keys[:-1]), self._offer)

    async def _place(self, messages: Sequence[Message], order: Sequence[str]) -> Sequence[Position]:
        if _are_voids(messages):
            return await land(messages, order, self._offer)  # their numbers are given
        return await super()._place(messages, order)

    def _order(self) -> Sequence[str]:
        if self._host and not self._host.is_empty:
            return self._keys[-1:] if self.keeps_order else self._keys[-1:] + self._keys[:-1]
        return self._steered(self._keys)

    def _steered(self, keys: Sequence[str]) -> Sequence[str]:
        """What tries a lower rung, and fails, goes on where it would have begun."""
        begin = keys[min(self.choice.begin(), len(keys) - 1)]
        home = min(self.choice.home, len(keys) - 1)
        order = [*keys[home:], *keys[:home]]
        return order if order[0] == begin else [begin, *(key for key in order if key != begin)]

    def _wait_ms_max(self, key: str) -> int:
        return self._append_ms_max * (_HOST_PATIENCE if self._host and key == "last" else 1)

    async def _append_parted(self, messages: Sequence[Message], away: Collection[int]) -> Sequence[Position]:
        """What belongs to a lane that is away begins at a lower rung."""
        count, order = self._children["primary"].traits.lanes, self._order()
        lanes = [None if message.key is None else lane_of(message.key, count) for message in messages]
        diverted = {lane for lane in {*lanes} & {*away} if lane is not None and not self.choice.tries(lane)}
        stays = [row for row, lane in enumerate(lanes) if lane not in diverted]
        goes = [row for row, lane in enumerate(lanes) if lane in diverted]
        below = min(self.choice.lower(), len(self._keys) - 1)
        lower = [*self._keys[below:], *self._keys[:below]] if order[0] == self._keys[0] else order
        parts = [(rows, keys) for rows, keys in ((stays, order), (goes, lower)) if rows]
        found = await together([self._outcomes([messages[row] for row in rows], keys) for rows, keys in parts])
        outcomes: dict[int, Position | EvermqError] = {}
        for (rows, _), each in zip(parts, found, strict=True):
            outcomes.update(zip(rows, each, strict=True))
        return settled([outcomes[row] for row in range(len(messages))])

    async def _outcomes(self, messages: Sequence[Message], order: Sequence[str]) -> Sequence[Position | EvermqError]:
        try:
            return await self._place(messages, order)
        except Partial as error:
            return error.outcomes
        except EvermqError as error:
            return [error] * len(messages)

    async def _offer(self, key: str, messages: Sequence[Message]) -> Sequence[Position]:
        steers, clock = self.choice, self._clock
        epoch, began_ms = steers.epoch, clock.monotonic_ms()
        try:
            positions = await super()._offer(key, messages)
        except EvermqError as error:
            steers.saw(key, messages, error, began_ms=began_ms, ended_ms=clock.monotonic_ms(), epoch=epoch)
            if key in self.retained and isinstance(error, Partial):
                placed = zip(messages, error.outcomes, strict=True)
                await self.retained[key].keep([message for message, each in placed if isinstance(each, Position)])
            if isinstance(error, Denied | NoSuchTopic) and key != self._keys[min(steers.home, len(self._keys) - 1)]:
                # That is of the rung, and not of the message: what only keeps it warm goes where it would have gone.
                raise Unavailable(f"{key} refuses what it is given: {error}") from error
            raise
        steers.saw(key, messages, None, began_ms=began_ms, ended_ms=clock.monotonic_ms(), epoch=epoch)
        if key in self.retained:
            await self.retained[key].keep(messages)
        return positions


def _are_voids(messages: Sequence[Message]) -> bool:
    try:
        return VOID in messages[0].headers and all(VOID in message.headers for message in messages)
    except NOT_A_MESSAGE:
        return False  # the rungs refuse it, and say why


class _Above:
    """See `Queue`: the rungs above the last one, as its pump sees them."""

    def __init__(self, ladder: Failover, keys: Sequence[str]) -> None:
        self._ladder = ladder
        self.name = ladder.name
        self.traits = ladder.traits_of(keys)
        self.append = ladder.append_above
        self.reader = ladder.reader
        self.backlog = ladder.backlog

    async def close(self) -> None:
        """The ladder closes its rungs itself."""
