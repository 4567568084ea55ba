"""Start: where a new group begins."""

from __future__ import annotations

from evermq.errors import Misconfigured
from evermq.port import Start
from evermq.testing.conformance.bench import Bench, bodies, raised
from evermq.testing.conformance.chapter import Chapter
from evermq.testing.conformance.needs import Need

__all__ = ["start"]

start = Chapter("start")


async def _gets(bench: Bench, where: Start, *expected: str) -> None:
    """What a new group gets from there, and that nothing else comes."""
    reader = await bench.reader("two", where)
    assert bodies(await bench.take(reader, len(expected)) if expected else []) == [text.encode() for text in expected]
    await bench.nothing_comes(reader)
    await bench.append("later", key="k")
    assert bodies(await bench.take(reader, 1)) == [b"later"]


@start(Need.REPLAY)
async def oldest_is_what_is_retained(bench: Bench) -> None:
    """From the first message on."""
    await bench.reader("one")
    await bench.append("a", "b", "c", key="k")
    await _gets(bench, Start.OLDEST, "a", "b", "c")


@start(Need.REPLAY)
async def newest_is_what_comes_from_now_on(bench: Bench) -> None:
    """And nothing that was there."""
    await bench.append("a", "b", "c", key="k")
    await _gets(bench, Start.NEWEST)


@start(Need.REPLAY)
async def newest_holds_when_the_first_reader_is_gone(bench: Bench) -> None:
    """The group was made when it was opened, not when it was read."""
    await bench.append("a", key="k")
    await (await bench.reader("two", Start.NEWEST)).close()
    await bench.append("b", key="k")
    assert bodies(await bench.take(await bench.reader("two"), 1)) == [b"b"]


@start(Need.REPLAY)
async def time_is_that_of_the_append(bench: Bench) -> None:
    """What was appended at that time or later."""
    await bench.append("a", "b", key="k")
    await bench.pass_ms(20)
    time_ms = bench.now_ms()
    await bench.pass_ms(5)
    await bench.append("c", "d", key="k")
    await _gets(bench, Start("time", time_ms), "c", "d")


@start(Need.REPLAY)
async def time_long_gone_is_oldest_and_time_to_come_is_newest(bench: Bench) -> None:
    """The ends hold."""
    await bench.append("a", key="k")
    old = await bench.reader("two", Start("time", 1))
    new = await bench.reader("three", Start("time", bench.now_ms() + 3_600_000))
    assert bodies(await bench.take(old, 1)) == [b"a"]
    await bench.nothing_comes(new)


@start(Need.REPLAY)
async def offset_is_the_first_that_comes(bench: Bench) -> None:
    """In every lane."""
    await bench.append("a", key="k")
    positions = await bench.queue.append([bench.message(text, key="k") for text in "bcd"])
    offset = positions[1].offset
    assert offset is not None, "a queue that replays has offsets"
    await _gets(bench, Start("offset", offset), "c", "d")


@start(Need.REPLAY)
async def offset_beyond_the_end_is_the_end(bench: Bench) -> None:
    """Nothing of what is there, all of what comes."""
    await bench.append("a", key="k")
    await _gets(bench, Start("offset", 1_000_000))


@start(Need.REPLAY)
async def group_that_exists_takes_no_other_start(bench: Bench) -> None:
    """It goes on where it stands."""
    await bench.append("a", "b", key="k")
    await (await bench.reader("two")).close()
    reader = await bench.reader("two", Start.NEWEST)
    assert bodies(await bench.take(reader, 2)) == [b"a", b"b"]


@start(Need.REPLAY)
async def unknown_start_is_refused(bench: Bench) -> None:
    """And makes no group."""
    assert "middle" in str(await raised(Misconfigured, bench.reader("two", Start("middle"))))
    await bench.append("a", key="k")
    await _gets(bench, Start.OLDEST, "a")
