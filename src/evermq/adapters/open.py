"""From a URL to a queue or a place; the only file that knows every adapter."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from evermq.errors import Misconfigured
from evermq.port import AppendsBlocking, Place, Queue
from evermq.topics import check_topic
from evermq.traits import Traits

__all__ = ["Address", "open_log", "open_place", "open_queue", "parse"]

_SCHEMES = ("log", "memory")
_LATER = ("kafka", "rocketmq", "rabbitmq", "redis")
_memory: dict[str, Place] = {}


@dataclass(frozen=True, slots=True)
class Address:
    """What a queue's URL says. place: directory or name, without the topic. options: from the query."""

    scheme: str
    place: str
    topic: str
    options: dict[str, str] = field(default_factory=dict)


def parse(url: str, *, topic_needed: bool = True) -> Address:
    """Take a URL apart; without `topic_needed` the whole path is the place. Raises Misconfigured."""
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise _unknown_scheme(url, parts.scheme)
    if parts.fragment:
        raise Misconfigured(f"{url}: '#{parts.fragment}' means nothing here, leave it out")
    path = unquote(parts.path)
    if parts.scheme == "log" and parts.netloc:
        raise Misconfigured(f"{url}: a log is a directory of this machine: write log:///{parts.netloc}{parts.path}")
    whole = path if parts.scheme == "log" else f"{parts.netloc}{path}"
    place, topic = whole.rpartition("/")[::2] if topic_needed else (whole, "")
    if topic_needed:
        _check(url, place, topic)
    return Address(parts.scheme, place, topic, _options(url, parts.query))


def _check(url: str, place: str, topic: str) -> None:
    if not topic:
        raise Misconfigured(f"{url}: the topic is missing, it is the last part of the path: log:///directory/topic")
    if not place.strip("/"):
        raise Misconfigured(f"{url}: the directory is missing: log:///directory/topic")
    check_topic(topic)


def _options(url: str, query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise Misconfigured(f"{url}: {query!r} is not option=value&option=value") from error
    options = dict(pairs)
    if len(options) < len(pairs):
        raise Misconfigured(f"{url}: an option stands there twice")
    return options


def _unknown_scheme(url: str, scheme: str) -> Misconfigured:
    if scheme in _LATER:
        return Misconfigured(f"{url}: this version of evermq has no {scheme} adapter; it knows log:// and memory://")
    near = difflib.get_close_matches(scheme, _SCHEMES, 1)
    hint = f"did you mean {near[0]}://?" if near else "a queue is log:///directory/topic or memory://name/topic"
    return Misconfigured(f"{url}: {scheme + '://' if scheme else 'what'} is no queue evermq knows: {hint}")


async def open_place(url: str) -> Place:
    """The place that a URL without a topic names."""
    return await _place(parse(url, topic_needed=False))


async def open_queue(url: str) -> Queue:
    """The queue that a URL names; closing it closes its place."""
    address = parse(url)
    place = await _place(address)
    try:
        return _Owning(await place.queue(address.topic), place)
    except BaseException:
        await place.close()
        raise


async def open_log(directory: str | Path, *, silence_ms: int = 5_000, **options: Any) -> Place:
    """A log directory, shared with the other processes that open it: the first one owns and serves it."""
    from evermq.adapters.log.options import LogOptions
    from evermq.adapters.log.place import LogPlace
    from evermq.adapters.remote.shared import SharedPlace

    path = Path(directory)
    LogOptions.of(options)  # whoever owns it: a wrong option is an error everywhere

    async def own() -> Place:
        return await LogPlace.open(path, **options)

    return await SharedPlace.open(own, path / "socket", silence_ms=silence_ms)


async def _place(address: Address) -> Place:
    if address.scheme == "log":
        named: dict[str, Any] = dict(address.options)
        return await open_log(address.place, **named)
    return _open_memory(address)


def _open_memory(address: Address) -> Place:
    from evermq.adapters.memory import MemoryPlace

    if address.options.keys() - {"lanes"}:
        raise Misconfigured(f"memory://{address.place}: of options only lanes is known")
    lanes = address.options.get("lanes", "8")
    if not lanes.isdigit() or not int(lanes):
        raise Misconfigured(f"memory://{address.place}: lanes = {lanes!r}: give a whole number from 1 on")
    return _memory.setdefault(address.place, MemoryPlace(lanes=int(lanes)))


class _Owning:
    """A queue that takes its place with it when it is closed."""

    def __init__(self, queue: Queue, place: Place) -> None:
        self._place = place
        self._queue = queue
        self.name = queue.name
        self.append = queue.append
        self.reader = queue.reader
        self.backlog = queue.backlog
        if isinstance(queue, AppendsBlocking):
            self.append_blocking = queue.append_blocking

    @property
    def traits(self) -> Traits:
        return self._queue.traits

    async def close(self) -> None:
        await self._queue.close()
        if self._place not in _memory.values():
            await self._place.close()
