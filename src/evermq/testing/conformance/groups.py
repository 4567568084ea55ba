"""Groups: each sees every message, whatever the others do."""

from __future__ import annotations

from evermq.errors import Misconfigured
from evermq.port import Start
from evermq.testing.conformance.bench import Bench, bodies, raised
from evermq.testing.conformance.chapter import Chapter
from evermq.testing.conformance.needs import Need

__all__ = ["groups"]

groups = Chapter("groups")
_TEN = [str(i).encode() for i in range(10)]


@groups(Need.MANY_GROUPS)
async def every_group_gets_every_message(bench: Bench) -> None:
    """Once each."""
    readers = [await bench.reader(group) for group in ("one", "two", "three")]
    await bench.append(*map(str, range(10)))
    for reader in readers:
        assert sorted(bodies(await bench.take_acked(reader, 10))) == _TEN
        await bench.nothing_comes(reader)


@groups(Need.MANY_GROUPS)
async def acks_of_a_group_are_its_own(bench: Bench) -> None:
    """Another group still has everything before it."""
    first, second = await bench.reader("one"), await bench.reader("two")
    await bench.append(*map(str, range(10)))
    await bench.take_acked(first, 10)
    await bench.backlog_becomes(0, "one")
    await bench.backlog_becomes(10, "two")
    assert sorted(bodies(await bench.take(second, 10))) == _TEN


@groups(Need.MANY_GROUPS)
async def releases_of_a_group_are_its_own(bench: Bench) -> None:
    """Another group sees neither the delay nor the attempt."""
    first, second = await bench.reader("one"), await bench.reader("two")
    await bench.append("a", key="k")
    await first.release(await bench.take(first, 1), delay_ms=3_600_000)
    [delivery] = await bench.take(second, 1)
    assert (delivery.message.body, delivery.attempt) == (b"a", 1)


@groups(Need.MANY_GROUPS)
async def group_that_holds_a_lane_stops_no_other(bench: Bench) -> None:
    """Unsettled messages block their own group only."""
    first, second = await bench.reader("one"), await bench.reader("two")
    await bench.append("0", "1", key="k")
    assert len(await first.read(count_max=1, wait_ms=10_000)) == 1
    assert bodies(await bench.take(second, 2)) == [b"0", b"1"] or bench.traits.order == 0


@groups(Need.MANY_GROUPS, Need.NEW_GROUPS)
async def new_group_gets_what_is_retained(bench: Bench) -> None:
    """At least all that an older group has not settled."""
    await bench.reader("one")
    await bench.append(*map(str, range(10)))
    assert sorted(bodies(await bench.take(await bench.reader("two"), 10))) == _TEN


@groups(Need.NEW_GROUPS)
async def messages_wait_for_the_first_group(bench: Bench) -> None:
    """A topic without any group keeps its messages."""
    await bench.append(*map(str, range(10)))
    assert sorted(bodies(await bench.take(await bench.reader(), 10))) == _TEN


@groups()
async def group_goes_on_where_it_stands(bench: Bench) -> None:
    """Whatever start its later readers ask for."""
    await bench.append("a", "b", key="k")
    first = await bench.reader()
    await bench.take_acked(first, 2)
    await first.close()
    await bench.append("c", key="k")
    assert bodies(await bench.take(await bench.reader(start=Start.OLDEST), 1)) == [b"c"]


@groups()
async def group_without_readers_misses_nothing(bench: Bench) -> None:
    """What is appended meanwhile waits for it."""
    await (await bench.reader()).close()
    await bench.append("a")
    assert bodies(await bench.take(await bench.reader(), 1)) == [b"a"]


@groups(Need.NEW_GROUPS)
async def name_that_is_no_group_is_refused(bench: Bench) -> None:
    """With the name in the error."""
    for name in ("", "a/b", ".hidden", "line\nbreak", "x" * 201):
        assert repr(name) in str(await raised(Misconfigured, bench.reader(name)))
