"""Which topics and groups of a log were made, dropped and reset, and what may therefore be found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from math import inf
from typing import Any, Generic, NamedTuple, TypeVar

from evermq.adapters.log.catalog import Catalog
from evermq.message import Message
from evermq.port import Start
from evermq.position import Position
from evermq.testing.simulation.disk import FakeDisk

__all__ = ["GroupLife", "Story", "TopicBooks", "TopicLife"]

T = TypeVar("T")
N = TypeVar("N", "TopicLife", "GroupLife")
_LONG_AGO, _NOW = -1, 1 << 60  # before the first step of this disk, and after every one


class Act(NamedTuple, Generic[T]):
    """From step `begin` on it may be so, and from `end` on it is, for ever if nothing follows."""

    begin: float
    end: float
    value: T | None


@dataclass(slots=True)
class Story(Generic[T]):
    """What a name stood for, one after the other; None: for nothing."""

    acts: list[Act[T]] = field(default_factory=list)

    def possible(self, before: float = _NOW) -> list[T | None]:
        """What it may stand for after a crash, steps up to `before` being done."""
        found: list[T | None] = [None]
        for act in self.acts:
            if act.begin <= before:
                found = [act.value] if act.end <= before else [*found, act.value]
        return found

    def decide(self, value: T | None, moment: float) -> None:
        """It is this for certain."""
        if len(self.possible()) > 1:
            self.acts.append(Act(moment, moment, value))

    def after(self, before: float) -> None:
        """A crash came, and the steps of the disk begin anew."""
        first, *others = self.possible(before)
        self.acts = [Act(_LONG_AGO, _LONG_AGO, first), *(Act(_LONG_AGO, inf, other) for other in others)]


@dataclass(slots=True, eq=False)
class GroupLife:
    """A group from its making to its reset, or the drop of its topic. never: the messages that it must not get, being
    behind its start. perhaps: those of which that is not known. settling, settled: when that was asked for, and
    answered."""

    number: int
    never: set[str] = field(default_factory=set)
    perhaps: set[str] = field(default_factory=set)
    settling: dict[str, float] = field(default_factory=dict)
    settled: dict[str, float] = field(default_factory=dict)

    def passes(self, id: str, before: float = inf) -> bool:
        """Whether it may need this message no more, steps up to `before` being done."""
        is_settled = id in self.settling and self.settling[id] <= before
        return is_settled or id in self.never or id in self.perhaps


@dataclass(slots=True, eq=False)
class TopicLife:
    """A topic from its making to its drop. sent: whatever was to be appended. acked, placed: when that was answered,
    and where it is. freed: when all groups had done with it, so that it may go. dropped_at: the last segment that may
    tell of it, once it was dropped for certain."""

    number: int
    name: str
    sent: dict[str, Message] = field(default_factory=dict)
    delayed: set[str] = field(default_factory=set)
    acked: dict[str, float] = field(default_factory=dict)
    placed: dict[str, Position] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    freed: dict[str, float] = field(default_factory=dict)
    groups: dict[str, Story[GroupLife]] = field(default_factory=dict)
    live: dict[str, GroupLife] = field(default_factory=dict)
    dropped_at: int | None = None

    def group(self, number: int, start: Start) -> GroupLife:
        """One that begins now."""
        here = {id for id in self.acked if id not in self.delayed}
        match start.at:
            case "newest":
                return GroupLife(number, here, self.sent.keys() - here)
            case "offset":
                never = {id for id in here if (self.placed[id].offset or 0) < start.value}
                return GroupLife(number, never, self.sent.keys() - here)
            case _:
                return GroupLife(number)

    def free(self, moment: float) -> None:
        """Take down what no group needs any more."""
        groups = [group for story in self.groups.values() for group in story.possible() if group]
        for id in self.sent.keys() - self.freed.keys() if self.live else ():
            if all(group.passes(id) for group in groups):
                self.freed[id] = moment

    def acknowledged(self, before: float) -> set[str]:
        """Steps up to `before` being done."""
        return _by(self.acked, before)

    def must_be_stored(self, before: float) -> set[str]:
        """What is acknowledged and needed by somebody."""
        return _by(self.acked, before) - _by(self.freed, before)

    def strange(self, message: Message) -> Iterator[str]:
        """What is wrong with a message that came from here."""
        sent = self.sent.get(message.id)
        if sent is None or (message.body, message.key) != (sent.body, sent.key):
            yield f"{message.id} came from {self.name} (topic {self.number}), and was never sent to this one"
        if message.id in self.refused:
            yield f"{message.id} of {self.name} was refused for certain and is stored"


@dataclass(slots=True)
class TopicBooks:
    """names: what each topic's name stood for. live: what each stands for now. topics, groups: all there ever were, and
    those that could not be made, which a crash may bring. cursor_syncs: when what groups have done was flushed."""

    names: dict[str, Story[TopicLife]] = field(default_factory=dict)
    live: dict[str, TopicLife] = field(default_factory=dict)
    topics: list[TopicLife] = field(default_factory=list)
    groups: list[GroupLife] = field(default_factory=list)
    cursor_syncs: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def make_topic(self, name: str, number: int, begin: int, end: float) -> None:
        """end: inf for one that could not be made, which a crash may bring."""
        self._take(number)
        topic = TopicLife(number, name)
        self.topics.append(topic)
        self.names.setdefault(name, Story()).acts.append(Act(begin, end, topic))
        if end < inf:
            self.live[name] = topic

    def drop_topic(self, name: str, begin: int, end: float, segment: int) -> None:
        topic = self.live.pop(name)
        topic.dropped_at = segment if end < inf else None
        self.names[name].acts.append(Act(begin, end, None))

    def make_group(
        self, topic: TopicLife, name: str, number: int, start: Start, begin: int, end: float, *, is_live: bool = True
    ) -> None:
        """Or make it anew. is_live: else only a crash may bring it."""
        self._take(number)
        group = topic.group(number, start)
        self.groups.append(group)
        topic.groups.setdefault(name, Story()).acts.append(Act(begin, end, group))
        if is_live:
            topic.live[name] = group
        topic.free(begin)

    def decide(self, begin: float, moment: float) -> None:
        """Both copies of the catalog say what holds, so no crash finds anything else; begin: so for what may go."""
        for name, story in self.names.items():
            story.decide(self.live.get(name), moment)
        for topic in self.live.values():
            for name, groups in topic.groups.items():
                groups.decide(topic.live.get(name), moment)
            topic.free(begin)

    def _take(self, number: int) -> None:
        """A number was given; one that is, or was for certain, somebody's, must not be."""
        stories: list[Story[Any]] = [
            *self.names.values(),
            *(story for topic in self.topics for story in topic.groups.values()),
        ]
        for act in (act for story in stories for act in story.acts):
            if act.value and act.value.number == number and act.end < inf:
                self.wrong.append(f"number {number} was given again")

    def look(self, catalog: Catalog, before: float = _NOW, *, moment: float | None = None) -> Iterator[str]:
        """Compare what was found with what may be there after a crash. moment: if the log is used on from here, when
        that was."""
        found = {record.name: record.number for record in catalog.topics}
        groups = {(record.topic, record.name): record.number for record in catalog.groups}
        self.live = {}
        for name in sorted({*self.names, *found}):
            story = self.names.setdefault(name, Story())
            topic, is_possible = _which(story.possible(before), found.get(name, 0))
            if not is_possible:
                yield _unlike(f"topic {name}", found.get(name, 0), story.possible(before))
                continue
            if topic:
                self.live[name] = topic
                yield from self._look_at_groups(topic, groups, before, moment)
            if moment is not None:
                story.acts.append(Act(moment, moment, topic))

    def _look_at_groups(
        self, topic: TopicLife, found: dict[tuple[int, str], int], before: float, moment: float | None
    ) -> Iterator[str]:
        topic.live = {}
        for name in sorted({*topic.groups, *(name for number, name in found if number == topic.number)}):
            story, number = topic.groups.setdefault(name, Story()), found.get((topic.number, name), 0)
            group, is_possible = _which(story.possible(before), number)
            if not is_possible:
                yield _unlike(f"group {name} of {topic.name}", number, story.possible(before))
                continue
            if group:
                topic.live[name] = group
            if moment is not None:
                story.acts.append(Act(moment, moment, group))

    def done(self, group: GroupLife, before: float, *, power: bool) -> set[str]:
        """What must not come again to a group after a crash."""
        if power:
            before = max((step for step in self.cursor_syncs if step <= before), default=_LONG_AGO) - 1
        return _by(group.settled, before)

    def dropped(self, before: float) -> Iterator[tuple[int, int]]:
        """The topics that are certainly gone, and the last segments that may tell of them."""
        latest = {topic.number: topic for topic in self.topics}  # what a crash undid left its number to another one
        for topic in latest.values():
            if topic.dropped_at is not None and topic not in self.names[topic.name].possible(before):
                yield topic.number, topic.dropped_at

    def seen(self) -> Counter[str]:
        """How often what was meant to happen did."""
        stories: list[Story[Any]] = [
            *self.names.values(),
            *(story for topic in self.topics for story in topic.groups.values()),
        ]
        return Counter(
            {
                "topics made": len(self.topics),
                "topics dropped": sum(topic.dropped_at is not None for topic in self.topics),
                "groups made": len(self.groups),
                "uncertain": sum(act.end == inf for story in stories for act in story.acts),
                "messages acknowledged": sum(len(topic.acked) for topic in self.topics),
            }
        )

    def note(self, disk: FakeDisk) -> None:
        """Take down when this disk, whose life is over, flushed."""
        self.cursor_syncs += disk.syncs("cursors-")

    def after(self, before: float, *, power: bool) -> TopicBooks:
        """The books of the life that follows a crash, its disk counting from 0. What was settled and not flushed is as
        volatile as it was."""
        shared = {id(message): message for topic in self.topics for message in topic.sent.values()}
        next = deepcopy(self, shared)
        begun = [act.value for story in next.names.values() for act in story.acts if act.begin <= before]
        next.topics = [topic for topic in next.topics if topic in begun]
        for story in next.names.values():
            story.after(before)
        for topic in next.topics:
            topic.acked = dict.fromkeys(_by(topic.acked, before), _LONG_AGO)
            topic.freed = dict.fromkeys(_by(topic.freed, before), _LONG_AGO)
            topic.live = {}
            for groups in topic.groups.values():
                groups.after(before)
        for group in next.groups:
            durable, done = next.done(group, before, power=True), next.done(group, before, power=power)
            group.settling = dict.fromkeys(_by(group.settling, before), _LONG_AGO)
            group.settled = {id: _LONG_AGO - 1 if id in durable else 0 for id in done}
        next.live, next.cursor_syncs, next.wrong = {}, [], []
        return next


def _by(moments: dict[str, float], before: float) -> set[str]:
    return {id for id, moment in moments.items() if moment <= before}


def _which(possible: Sequence[N | None], number: int) -> tuple[N | None, bool]:
    """The one of this number, 0: none, and whether that may be."""
    return next(((life, True) for life in possible if (life.number if life else 0) == number), (None, False))


def _unlike(what: str, number: int, possible: Sequence[TopicLife | GroupLife | None]) -> str:
    expected = " or ".join(str(life.number) if life else "not there" for life in possible)
    return f"{what} is {number or 'not there'}, which it cannot be: {expected}"
