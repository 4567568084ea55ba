"""From a URL to a queue or a place; the only file that knows every adapter."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from evermq.adapters.address import Address, parse
from evermq.adapters.inspection import Inspection
from evermq.errors import Misconfigured, NoSuchTopic
from evermq.half import HoldsHalves
from evermq.port import AppendsBlocking, OrdersAppends, Place, Queue
from evermq.settling import Bounded, Identified, Relaned, Scatters
from evermq.traits import Traits

__all__ = ["inspect", "open_log", "open_place", "open_queue", "owning"]

_memory: dict[str, Place] = {}


async def open_place(url: str, *, existing: bool = False) -> Place:
    """The place that a URL without a topic names. existing: NoSuchTopic for a log that would have to be made."""
    address = parse(url, topic_needed=False)
    if existing and address.scheme == "log" and not (Path(address.place) / "lock").exists():
        _log_options(address)
        raise NoSuchTopic(f"{address.place} holds no log: nothing was ever opened there")
    return await _place(address)


async def open_queue(url: str) -> Queue:
    """The queue that a URL names; closing it closes its place."""
    address = parse(url)
    place = await _place(address)
    try:
        return owning(await place.queue(address.topic), place)
    except BaseException:
        await place.close()
        raise


async def open_log(directory: str | Path, /, *, silence_ms: int = 5_000, **options: Any) -> Place:
    """A log directory, shared with the other processes that open it: the first one owns and serves it.

    Raises Misconfigured where an option is given and the owner has another value: what it keeps to is what all get.
    `lanes` is of the topics that this one makes.
    """
    from evermq.adapters.log.options import LogOptions
    from evermq.adapters.log.place import LogPlace
    from evermq.adapters.remote.shared import SharedPlace

    path = Path(directory)
    chosen = LogOptions.of(options)  # whoever owns it: a wrong option is an error everywhere

    async def own() -> Place:
        return await LogPlace.open(path, **options)

    asked = {name: chosen.shared[name] for name in options if name in chosen.shared}
    lanes = chosen.lanes if "lanes" in options else None
    return await SharedPlace.open(own, path / "socket", silence_ms=silence_ms, asked=asked, lanes=lanes)


async def inspect(url: str) -> Inspection:
    """What the engine behind a URL survives as it is set up; a URL that ends in `/` names no topic."""
    address = parse(url, topic_needed=not url.partition("?")[0].endswith("/"))
    found: Inspection = await _engine(address, "inspect").inspect(address)
    return found


async def _place(address: Address) -> Place:
    if address.scheme == "log":
        silence_ms, named = _log_options(address)
        return await open_log(address.place, silence_ms=silence_ms, **named)
    if address.scheme == "memory":
        return _open_memory(address)
    place: Place = await _engine(address, "connect").connect(address)
    return place


def _log_options(address: Address) -> tuple[int, dict[str, Any]]:
    """silence_ms, and the options of the log itself. Raises Misconfigured."""
    from evermq.adapters.log.options import LogOptions

    named: dict[str, Any] = dict(address.options)
    silence = named.pop("silence_ms", "5000")
    if not silence.isdecimal() or not int(silence):
        raise Misconfigured(f"log option silence_ms = {silence!r}: give a whole number from 1 on")
    LogOptions.of(named)
    return int(silence), named


def _engine(address: Address, module: str) -> Any:
    """A module of the engine's adapter. Each has `connect`, with `async def connect(address) -> Place`, and `inspect`,
    with `async def inspect(address) -> Inspection`."""
    engine = address.engine
    try:
        return import_module(f"evermq.adapters.{engine}.{module}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("evermq"):
            raise Misconfigured(f"{address}: this version of evermq has no {engine} adapter") from error
        raise Misconfigured(
            f"{address}: its driver is not installed ({error.name}): pip install 'evermq[{engine}]'"
        ) from error


def _open_memory(address: Address) -> Place:
    from evermq.adapters.memory import MemoryPlace

    if address.options.keys() - {"lanes"}:
        raise Misconfigured(f"memory://{address.place}: of options only lanes is known")
    lanes = address.options.get("lanes", "8")
    if not lanes.isdecimal() or not int(lanes):
        raise Misconfigured(f"memory://{address.place}: lanes = {lanes!r}: give a whole number from 1 on")
    return _memory.setdefault(address.place, MemoryPlace(lanes=int(lanes)))


def owning(queue: Queue, place: Place) -> Queue:
    """The queue, which takes its place with it when it is closed."""
    return _Identified(queue, place) if isinstance(queue, Identified) else _Owning(queue, place)


class _Owning:
    """It can do what its engine's queue can do, and no more."""

    def __init__(self, queue: Queue, place: Place) -> None:
        self._place = place
        self._queue = queue
        self.name = queue.name
        self.append = queue.append
        self.reader = queue.reader
        self.backlog = queue.backlog
        if isinstance(queue, AppendsBlocking):
            self.append_blocking = queue.append_blocking
        if isinstance(queue, OrdersAppends):
            self.appends_max = queue.appends_max
        if isinstance(queue, Bounded):
            self.end = queue.end
        if isinstance(queue, Scatters):
            self.scatters = queue.scatters
        if isinstance(queue, Relaned):
            self.read_at_once = queue.read_at_once
        if isinstance(queue, HoldsHalves):
            self.halves = queue.halves

    @property
    def traits(self) -> Traits:
        return self._queue.traits

    async def close(self) -> None:
        await self._queue.close()
        if self._place not in _memory.values():
            await self._place.close()


class _Identified(_Owning):
    """The topic may be made anew, so that it is asked each time."""

    @property
    def topic_id(self) -> str:
        assert isinstance(self._queue, Identified)
        return self._queue.topic_id
