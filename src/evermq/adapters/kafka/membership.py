"""This process as a member of one group: librdkafka's consumer, and the thread that it lives in.

The loop asks for records when a reader waits or little is left; the thread then fetches and decodes as many as there
are. Rebalances happen in that thread too. Offsets are committed by the loop, see `Commits`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from evermq.adapters.kafka.committing import Commits, either
from evermq.adapters.kafka.errors import ENDING, of_librdkafka
from evermq.adapters.kafka.fetching import Fetched, decode
from evermq.adapters.kafka.generation import generation_of
from evermq.adapters.kafka.group import Group
from evermq.adapters.kafka.lane import Lane
from evermq.adapters.kafka.making import made
from evermq.adapters.kafka.offsets import Offsets
from evermq.adapters.kafka.restoring import Restorer
from evermq.adapters.kafka.settings import Settings
from evermq.adapters.kafka.thread import in_thread
from evermq.adapters.kafka.topic import Topic
from evermq.clock import SYSTEM, Clock
from evermq.ending import Ending
from evermq.errors import Closed, EvermqError, Misconfigured, Unavailable

__all__ = ["Membership"]

_log = logging.getLogger("evermq.kafka")

_JOIN_S_MAX = 20.0
_POLL_S = 0.1  # a thread that waits for records looks up this often
_IDLE_S = 0.2  # how often rebalances are looked for while nobody reads
_COUNT_MAX = 2_000  # decoded in one go, while commits and the loop wait for the interpreter
_PAUSE_AT, _RESUME_AT = 4_000, 1_000
_BYTES_MAX = 32 << 20  # of all lanes: beyond it those that have more than their share wait
_ANSWER_S = 4.0
_END_S_MAX = 30.0
_OTHER_RULE = (
    "another client of the group shares its lanes by another rule: set its partition.assignment.strategy to "
    "cooperative-sticky, or use a group of its own"
)
_LOOK_MS = 5_000  # how often the topic is looked at: whether it is the very one that was joined
_SEEN_S = 1.0
_LOST_AT = 2  # looks in a row


class Membership:
    """Open it with `open`; it ends by itself when its last reader leaves. look: returns the topic as it is by now, see
    `KafkaPlace.look`. starts: where lanes begin that the group has committed nothing of; others begin at their oldest
    message. at_once: see `Group`."""

    def __init__(
        self,
        settings: Settings,
        topic: Topic,
        look: Callable[[Topic], Awaitable[Topic]],
        group: str,
        starts: Mapping[int, int],
        offsets: Offsets,
        clock: Clock = SYSTEM,
        *,
        at_once: bool = False,
    ) -> None:
        self.group = Group(group, settings.window, at_once=at_once)
        self.commits = Commits(self.group, topic, settings.group_prefix + group, offsets, clock)
        self._clock = clock
        self._settings = settings
        self._topic = topic
        self._look_at_topic = look
        self._offsets = offsets
        self._member = ""  # as the coordinator knows it, where the driver has not left the group
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, f"evermq-kafka-{group}")
        self._consumer = made(Consumer, {**settings.consumer(group, topic.name), "error_cb": self._on_error})
        self._restorer = Restorer(self._consumer, self.group, topic, starts, clock)
        self._lost: list[tuple[Lane, str]] = []  # lanes whose offset is not there, and what the driver says of it
        self._wanted = asyncio.Event()
        self._joined = asyncio.Event()
        self._was_told = False  # something by the driver, since the topic was looked at last
        self._failure: EvermqError | None = None
        self._said = "the driver says nothing of why"
        self._ending = Ending()
        self._fetching: asyncio.Task[None] | None = None
        self._committing: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Join the group. Raises Denied, Unsupported, or Unavailable where that takes too long."""
        try:
            self._look_around()
            self._consumer.subscribe(
                [self._topic.name], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            self._fetching = asyncio.create_task(self._fetch_all())
            self._committing = asyncio.create_task(self.commits.run())
            self._committing.add_done_callback(self._on_no_commits)
            self._looking = asyncio.create_task(self._look_on())
            self._wanted.set()
            await asyncio.wait_for(self._joined.wait(), _JOIN_S_MAX)
            self.check()
        except TimeoutError:
            await self.end()
            raise Unavailable(
                f"group {self.group.name}: not joined within {_JOIN_S_MAX} s ({self._said}): try again"
            ) from None
        except BaseException:
            await self.end()
            raise

    def check(self) -> None:
        """Raise what ended this membership; then that it has ended, so that callers open another one."""
        if self._failure:
            error, said = self._failure, str(self._failure)
            if not isinstance(error, Closed):
                said = f"this reader of group {self.group.name} has ended ({said}): open another one"
            self._failure = Closed(said)
            raise error

    def fetch(self) -> None:
        """A reader waits."""
        self._wanted.set()

    def fetch_ahead(self) -> None:
        """A reader was handed something: look for more if little is left."""
        if self.group.is_short:
            self._wanted.set()

    def end_before(self, topic_id: str) -> None:
        """The topic has this id by now: end if another one was joined, what readers have is none of it."""
        if topic_id != self._topic.id and not self.is_ending:
            said = f"topic {self._topic.name} was made anew, what this reader had is of the one before"
            _log.error("group %s: %s: the new one is read from its oldest message", self.group.name, said)
            self._fail(Closed(f"group {self.group.name}: {said}: open another one"))

    @property
    def topic_id(self) -> str:
        """Of the topic that was joined."""
        return self._topic.id

    @property
    def is_ending(self) -> bool:
        """Whether it serves no more readers."""
        return self._ending.has_begun

    async def leave(self) -> None:
        """A reader left; the last one takes the membership with it."""
        if not self.group.readers:
            await self.end()

    async def end(self) -> None:
        """Give everything back, commit, leave the group; again is harmless."""
        await self._ending.reach(self._end)

    async def _end(self) -> None:
        self._failure = self._failure or Closed(f"group {self.group.name} was left: open another reader")
        self._wanted.set()
        self._joined.set()  # who waits for that is told
        self.group.end()
        await _stop(self._looking)
        await _stop(self._fetching)
        self._thread.shutdown(wait=False)
        leaving = asyncio.wrap_future(in_thread(self._leave))
        try:
            if not (await asyncio.wait([leaving], timeout=_END_S_MAX))[0]:
                _log.error("group %s: the driver does not come to an end: it is left behind", self.group.name)
            elif error := leaving.exception():
                _log.warning("group %s: it was left without a word of what is done: %r", self.group.name, error)
            if self._member and "group.instance.id" not in self._settings.dotted:  # one that has a name comes back
                await self._offsets.leave(self._settings.group_prefix + self.group.name, self._member)
        finally:
            await _stop(self._committing)
            self.commits.end()
            self.group.wake()

    # The loop's side: records come in.

    async def _fetch_all(self) -> None:
        while True:
            hungry = self.group.is_hungry
            if not hungry and self._joined.is_set():
                await either(self._wanted, _IDLE_S)
                hungry = self.group.is_hungry
            self._wanted.clear()
            wait_s = _POLL_S if hungry or not self._joined.is_set() else 0.0
            try:
                fetched = await self._in_thread(partial(self._poll, wait_s))
            except KafkaException as error:
                self._fail(of_librdkafka(error.args[0], f"group {self.group.name}"))
                return
            except Exception as error:
                _log.exception("group %s: reading ended", self.group.name)
                self._fail(Unavailable(f"group {self.group.name}: reading ended: {error!r}"))
                return
            if fetched:
                self.group.wake()
                self.fetch_ahead()

    async def _in_thread(self, act: Callable[[], bool]) -> bool:
        job = self._loop.run_in_executor(self._thread, act)
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            await asyncio.wait([job])
            job.exception()  # looked at: it ends either way
            raise

    async def _look_on(self) -> None:
        """A topic that is made anew is none that the driver would tell of: it reads on in the new one. Nor that it is
        lost, see `_is_lost`."""
        lost = 0
        while True:
            await self._clock.sleep(_LOOK_MS)
            try:
                await self._look_at_topic(self._topic)
            except EvermqError as error:
                _log.info("group %s: whether its topic is the same is not known: %s", self.group.name, error)
                continue
            lost = lost + 1 if await self._is_lost() else 0
            if lost == _LOST_AT:
                self._fail(Unavailable(f"group {self.group.name}: the driver finds no broker, though there are some"))

    async def _is_lost(self) -> bool:
        """Whether the driver, which has told nothing of late, knows no broker. One that was told of none by a broker
        may never find one again (https://github.com/confluentinc/librdkafka/issues/5301, seen with 2.16.1)."""
        was_told, self._was_told = self._was_told, False
        if was_told or self.is_ending:
            return False
        return await self._in_thread(self._knows_no_broker)

    def _fail(self, error: EvermqError) -> None:
        """End; readers are told why."""
        self._failure = self._failure or error
        self._joined.set()
        self.group.wake()
        self._ending.begin(self._end)

    def _on_no_commits(self, task: asyncio.Task[None]) -> None:
        if not self.is_ending:
            why = "was cancelled" if task.cancelled() else repr(task.exception())
            self._fail(Unavailable(f"group {self.group.name}: committing ended: {why}"))

    # The thread's side.

    def _poll(self, wait_s: float) -> bool:
        """Take what the consumer has, or wait for a first record; True where readers should look again."""
        self._lost = [each for each in self._lost if not self._go_on(*each)]
        self._pause_and_resume()
        messages = self._consumer.consume(_COUNT_MAX, 0)
        if not messages and wait_s:
            first = self._consumer.poll(wait_s)
            messages = [] if first is None else [first, *self._consumer.consume(_COUNT_MAX - 1, 0)]
        self._look_around()
        if not messages:
            return False
        self._was_told = True
        fetched = decode(self._topic.name, messages)
        with self.group.lock:
            for number, rows in fetched.rows.items():
                if lane := self.group.lanes.get(number):
                    lane.add(rows)
            for number, offset in fetched.ends:
                if lane := self.group.lanes.get(number):
                    lane.reach(offset)
                    if lane.dirty:
                        self._loop.call_soon_threadsafe(self.commits.soon)
        self._look_at(fetched)
        return bool(fetched.rows)

    def _knows_no_broker(self) -> bool:
        try:
            self._consumer.list_topics(self._topic.name, timeout=_SEEN_S)
        except KafkaException as error:
            return bool(error.args[0].code() == KafkaError._TRANSPORT)
        return False

    def _look_at(self, fetched: Fetched) -> None:
        for error, number in fetched.errors:
            if error.code() != KafkaError._AUTO_OFFSET_RESET:
                self._on_error(error)
            elif lane := self.group.lanes.get(number):
                self._lost.append((lane, error.str()))

    def _go_on(self, lane: Lane, said: str) -> bool:
        """What the group stands at is not there: retention deleted it, the log lost its end, or the topic is another
        one. False where that is not known yet."""
        if self.group.lanes.get(lane.number) is not lane:
            return True
        looking = asyncio.run_coroutine_threadsafe(_result(self._look_at_topic(self._topic)), self._loop)
        try:
            if looking.result(_ANSWER_S) is not self._topic:
                return True  # and it ends
            if not self._restorer.go_on(lane, said):
                error = Closed(
                    f"{self._topic.name}: lane {lane.name} lost its end, and what this reader had: open another"
                )
                self._loop.call_soon_threadsafe(self._fail, error)
        except (TimeoutError, CancelledError, EvermqError, KafkaException) as error:
            looking.cancel()
            _log.info("group %s: where lane %s goes on is not known yet: %r", self.group.name, lane.name, error)
            return False
        self._loop.call_soon_threadsafe(self.commits.soon)
        return True

    def _pause_and_resume(self) -> None:
        """A lane that nobody empties does not fill the memory."""
        lanes = list(self.group.lanes.values())
        size, share = sum(lane.fresh_bytes for lane in lanes), _BYTES_MAX // max(1, len(lanes))
        most = share if size > _BYTES_MAX else size
        least = share // 4 if size > _BYTES_MAX // 4 else size
        full = [each for each in lanes if not each.paused and (each.buffered > _PAUSE_AT or each.fresh_bytes > most)]
        empty = [each for each in lanes if each.paused and each.buffered < _RESUME_AT and each.fresh_bytes <= least]
        for some, act in ((full, self._consumer.pause), (empty, self._consumer.resume)):
            if some:
                act([TopicPartition(self._topic.name, lane.number) for lane in some])
                for lane in some:
                    lane.paused = not lane.paused

    def _leave(self) -> None:
        """Give the lanes back first: a rebalance that `close` comes upon may wait for ever for the thread that answers
        it (https://github.com/confluentinc/librdkafka/issues/4041, seen with 2.16.1)."""
        until_s = time.monotonic() + _ANSWER_S
        try:
            self._consumer.unsubscribe()
            self._consumer.consume(1, _POLL_S / 10)
            while self.group.lanes and time.monotonic() < until_s:
                self._consumer.consume(_COUNT_MAX, _POLL_S)  # of these nothing is handed out: they come again
        finally:
            self._member = self._consumer.memberid() or ""
            self._consumer.close()

    def _look_around(self) -> None:
        """In which generation this member is."""
        self.commits.generation = generation_of(self._consumer.consumer_group_metadata())

    def _on_assign(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        lanes = self._restorer.restore(self._of_topic(partitions))
        self._loop.call_soon_threadsafe(self._topic.reach, 1 + max((lane.number for lane in lanes), default=-1))
        self.group.assign(lanes)
        consumer.incremental_assign([TopicPartition(self._topic.name, lane.number, lane.next) for lane in lanes])
        self._loop.call_soon_threadsafe(self._joined.set)

    def _on_revoke(self, _consumer: Any, partitions: list[TopicPartition]) -> None:
        """Hand over: wait a little for what is being handled, then leave word of the rest."""
        wait_s = self._settings.handover_ms_max / 1000
        lanes = self.group.withdraw([each.partition for each in self._of_topic(partitions)], wait_s=wait_s)
        self._look_around()
        self._hand_over(lanes)

    def _hand_over(self, lanes: Sequence[Lane]) -> None:
        """The loop commits, behind what it is committing: what is older must not come last."""
        commit = self.commits.commit(lanes, self.commits.generation)
        committing = asyncio.run_coroutine_threadsafe(commit, self._loop)
        try:
            if committing.result(_ANSWER_S):
                return
        except (TimeoutError, CancelledError):
            committing.cancel()
        _log.warning("group %s: lanes were handed over without a word of what is done last", self.group.name)

    def _on_lost(self, _consumer: Any, partitions: list[TopicPartition]) -> None:
        """Others may have these already: what readers still acknowledge of them is ignored."""
        self.group.withdraw([each.partition for each in self._of_topic(partitions)])
        _log.warning("group %s: this process was taken for dead, its lanes went to others", self.group.name)

    def _of_topic(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        return [each for each in partitions if each.topic == self._topic.name]

    def _on_error(self, error: KafkaError) -> None:
        where = f"group {self.group.name}, topic {self._topic.name}"
        if error.code() in ENDING:
            self._loop.call_soon_threadsafe(self._fail, of_librdkafka(error, where))
        elif error.code() == KafkaError.INCONSISTENT_GROUP_PROTOCOL and not self._joined.is_set():
            self._loop.call_soon_threadsafe(self._fail, Misconfigured(f"{where}: {_OTHER_RULE}"))
        else:
            self._said = error.str()
            _log.info("group %s: %s", self.group.name, error.str())


async def _result(found: Awaitable[Topic]) -> Topic:
    return await found


async def _stop(task: asyncio.Task[None] | None) -> None:
    if task:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
