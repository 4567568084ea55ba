"""Topics of probes: what they are called, and which of them nobody uses any more.

A name says which process made the topic, and among which others its number counts: those of another container have the
same numbers, and may have the same host name. Of its own kin a process knows who lives. Of all others it knows that a
probe takes another topic every few hours: one that it has seen for longer is nobody's, whatever any wall clock says.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import socket
from collections.abc import Iterable
from pathlib import Path

from evermq.adapters.address import Address
from evermq.adapters.open import open_place
from evermq.clock import SYSTEM, Clock
from evermq.errors import EvermqError, NoSuchTopic
from evermq.ha.probe import PREFIX, TOPIC_MS_MAX, Probe, drop_probe
from evermq.port import Place

__all__ = ["Sweeper", "drop_left_probes", "probe_of", "topic_of_probe"]

_SEEN_MS_MAX = 2 * TOPIC_MS_MAX
_SWEEP_S_MAX = 3  # of the time that a first trip may take
_HOST_MAX = 16  # RocketMQ takes names of 79 characters
_NAME = re.compile(re.escape(PREFIX) + r"[\w-]+\.(?P<kin>[0-9a-f]+)\.(?P<pid>[0-9]{1,9})\.(?P<start>[0-9a-f]+)\..+")
_PROC = Path("/proc")
_TIME = _PROC / "self/ns/time"  # from Linux 5.6 on


def probe_of(url: str, address: Address) -> Probe:
    """That of a rung. Where it connects, it sweeps."""
    # The topic of a probe has one lane: what the URL demands of its own topic would refuse it.
    options = [each for each in url.partition("?")[2].split("&") if each and not each.startswith("lanes=")]
    place = f"{address.scheme}://{address.place}" + (f"?{'&'.join(options)}" if options else "")
    sweeper = Sweeper()

    async def connect_place() -> Place:
        found = await open_place(place)
        try:
            await sweeper.sweep(found)
        except BaseException:
            await found.close()
            raise
        return found

    return Probe(connect_place, topic_of_probe())


def topic_of_probe() -> str:
    """A new name, for a topic of this process."""
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:_HOST_MAX]
    pid = os.getpid()
    return f"{PREFIX}{host}.{_kin() or SYSTEM.token()[:10]}.{pid}.{_start(pid) or 0:x}.{SYSTEM.token()}"


class Sweeper:
    """Of one place; it has to be there for hours to see what others left."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._seen_ms: dict[str, int] = {}

    async def sweep(self, place: Place) -> None:
        """Drop what nobody uses any more. What fails, or takes too long, is left to the next time."""
        with contextlib.suppress(EvermqError, TimeoutError):
            async with asyncio.timeout(_SWEEP_S_MAX):
                topics, now_ms = await place.topics(), self._clock.monotonic_ms()
                self._seen_ms = {each: self._seen_ms.get(each, now_ms) for each in topics if each.startswith(PREFIX)}
                old = [topic for topic, seen_ms in self._seen_ms.items() if now_ms - seen_ms >= _SEEN_MS_MAX]
                for topic in dict.fromkeys([*_left(topics), *old]):
                    with contextlib.suppress(EvermqError):
                        await drop_probe(place, topic)


async def drop_left_probes(place: Place) -> None:
    """Drop the topics of probes whose processes did not end in order, of those whose numbers count here."""
    for topic in _left(await place.topics()):
        with contextlib.suppress(NoSuchTopic):  # another process was faster
            await drop_probe(place, topic)


def _left(topics: Iterable[str]) -> list[str]:
    kin = _kin()
    found = [(topic, name) for topic in topics if (name := _NAME.fullmatch(topic)) and name["kin"] == kin]
    return [topic for topic, name in found if _is_gone(int(name["pid"]), int(name["start"], 16))]


def _kin() -> str:
    """The same for all processes that count in one row, on one machine since it started; empty where none can tell."""
    try:
        if (_PROC / "self").readlink() != Path(str(os.getpid())):
            return ""  # the numbers there are those of another container
        spaces = [each.stat().st_ino for each in (_PROC / "self/ns/pid", _TIME) if each != _TIME or each.exists()]
        boot = (_PROC / "sys/kernel/random/boot_id").read_text()
    except OSError:
        return ""
    told = f"{socket.gethostname()} {boot} {spaces}"
    return hashlib.blake2b(told.encode(), digest_size=5).hexdigest()


def _is_gone(pid: int, start: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # another user's, and not always to be seen in /proc
    except OverflowError:
        return False
    return _start(pid) not in (None, start)


def _start(pid: int) -> int | None:
    """When a process began, in ticks since the machine did: a number of a process comes again."""
    try:
        content = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    return int(content.rpartition(b")")[2].split()[19])
