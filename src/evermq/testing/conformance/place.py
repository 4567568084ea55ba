"""Place: the control plane knows its topics, and keeps what exists."""

from __future__ import annotations

import gc
import weakref

from evermq.errors import Misconfigured, NoSuchTopic
from evermq.settling import Identified
from evermq.testing.conformance.bench import Bench, bodies, raised
from evermq.testing.conformance.chapter import Chapter
from evermq.testing.conformance.needs import Need

__all__ = ["place"]

place = Chapter("place")


@place(Need.PLACE)
async def topics_are_listed(bench: Bench) -> None:
    """Those that exist, and no others."""
    assert bench.topic in await bench.place.topics()
    assert f"{bench.topic}-other" not in await bench.place.topics()


@place(Need.PLACE)
async def a_closed_queue_is_kept_by_nobody(bench: Bench) -> None:
    """Who opens one for each call must not fill the memory."""
    closed = []
    for _ in range(3):
        queue = await bench.place.queue(bench.topic)
        closed.append(weakref.ref(queue))
        await queue.close()
    await (await bench.place.queue(bench.topic)).close()
    del queue
    gc.collect()
    assert [each() for each in closed] == [None] * 3


@place(Need.PLACE)
async def create_makes_topic_and_groups(bench: Bench) -> None:
    """Groups that were made before anything was appended see everything."""
    topic = f"{bench.topic}-new"
    assert await bench.place.create(topic, groups=["one", "two"]) == []
    assert topic in await bench.place.topics()
    assert set((await bench.place.describe(topic)).groups) >= {"one", "two"}
    queue = await bench.place.queue(topic)
    await queue.append([bench.message("a")])
    for group in ("one", "two"):
        assert bodies(await bench.take(await queue.reader(group), 1)) == [b"a"]
    await queue.close()


@place(Need.PLACE)
async def create_keeps_what_exists(bench: Bench) -> None:
    """Messages and progress; it may be called again and again."""
    await bench.append("a", "b", key="k")
    reader = await bench.reader()
    await reader.ack((await bench.take(reader, 2))[:1])
    await reader.close()
    for _ in range(2):
        assert await bench.place.create(bench.topic, groups=[bench.group]) == []
    assert bodies(await bench.take(await bench.reader(), 1)) == [b"b"]


@place(Need.PLACE)
async def create_says_what_differs(bench: Bench) -> None:
    """One sentence, with the topic's name; nothing is changed."""
    before = await bench.place.describe(bench.topic)
    sentences = await bench.place.create(bench.topic, lanes=before.lanes + 1)
    assert len(sentences) == 1
    assert bench.topic in sentences[0]
    assert await bench.place.describe(bench.topic) == before


@place(Need.PLACE)
async def describe_tells_lanes_and_groups(bench: Bench) -> None:
    """With the backlog and the age of each, how it is kept, and where the engine counts them, how many ever came."""
    reader = await bench.reader()
    await bench.append("a")
    await bench.pass_ms(20)
    state = await bench.place.describe(bench.topic)
    assert state.lanes == bench.traits.lanes
    assert state.appended in (None, 1)
    assert state.settings
    assert all(name and isinstance(value, str) for name, value in state.settings.items())
    found = state.groups[bench.group]
    assert found.backlog == 1
    assert found.oldest_ms is not None
    assert found.oldest_ms >= 15
    await bench.take_acked(reader, 1)
    settled = (await bench.place.describe(bench.topic)).groups[bench.group]
    assert (settled.backlog, settled.oldest_ms) == (0, None)


@place(Need.PLACE)
async def topic_that_does_not_exist_is_told(bench: Bench) -> None:
    """By describe and drop."""
    await raised(NoSuchTopic, bench.place.describe(f"{bench.topic}-none"))
    await raised(NoSuchTopic, bench.place.drop(f"{bench.topic}-none"))


@place(Need.PLACE)
async def dropped_topic_is_gone(bench: Bench) -> None:
    """Made again, it is empty and knows no group, and where it tells who it is, it is another one."""
    topic = f"{bench.topic}-gone"
    await bench.place.create(topic)
    queue = await bench.place.queue(topic)
    before = queue.topic_id if isinstance(queue, Identified) else None
    await queue.append([bench.message("old")])
    await (await queue.reader("one")).close()
    await queue.close()
    await bench.place.drop(topic)
    assert topic not in await bench.place.topics()
    await bench.place.create(topic)
    again = await bench.place.queue(topic)
    assert before is None or (isinstance(again, Identified) and again.topic_id not in ("", before))
    assert await again.backlog("one") == 0
    await again.append([bench.message("new")])
    assert bodies(await bench.take(await again.reader("one"), 1)) == [b"new"]
    await again.close()


@place(Need.PLACE)
async def topics_are_kept_apart(bench: Bench) -> None:
    """Even if their groups have the same names."""
    await bench.place.create(f"{bench.topic}-b")
    other = await bench.place.queue(f"{bench.topic}-b")
    await bench.append("mine")
    await other.append([bench.message("theirs")])
    assert bodies(await bench.take(await bench.reader(), 1)) == [b"mine"]
    assert bodies(await bench.take(await other.reader(bench.group), 1)) == [b"theirs"]
    await other.close()


@place(Need.PLACE)
async def two_queues_of_a_topic_are_one(bench: Bench) -> None:
    """What one appends, a reader of the other gets; each is closed alone."""
    other = await bench.place.queue(bench.topic)
    reader = await other.reader(bench.group)
    await bench.append("a")
    assert bodies(await bench.take_acked(reader, 1)) == [b"a"]
    await other.close()
    await bench.append("b")
    assert bodies(await bench.take(await bench.reader(), 1)) == [b"b"]


@place(Need.PLACE)
async def name_that_is_no_topic_is_refused(bench: Bench) -> None:
    """With the name in the error."""
    for name in ("", "a/b", ".hidden", "line\nbreak", "x" * 201):
        await raised(Misconfigured, bench.place.queue(name))
        await raised(Misconfigured, bench.place.create(name))
