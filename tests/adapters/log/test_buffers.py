"""Memory that is used again: what one append wrote there never reaches another one."""

from evermq import MessageFactory
from evermq.adapters.log.batch import load
from evermq.adapters.log.buffers import Buffers
from evermq.adapters.log.columns import decode
from evermq.adapters.log.load import TopicLanes

make = MessageFactory()


def test_memory_that_was_given_back_is_used_again() -> None:
    buffers = Buffers()
    first = buffers.take(100_000)
    first.write(b"x" * 100_000)
    buffers.give(first)
    again = buffers.take(90_000)
    assert again is first
    assert again.tell() == 0
    assert buffers.take(90_000) is not first


def test_memory_that_somebody_still_looks_at_is_not_used_again() -> None:
    buffers = Buffers()
    first = buffers.take(100_000)
    view = first.getbuffer()[:10]
    buffers.give(first)
    assert buffers.take(100_000) is not first
    assert len(view) == 10


def test_no_more_is_kept_than_was_asked_for() -> None:
    buffers = Buffers(kept_bytes_max=300_000)
    taken = [buffers.take(100_000) for _ in range(3)]
    for each in taken:
        buffers.give(each)
    assert len({id(buffers.take(100_000)) for _ in range(3)} & {id(each) for each in taken}) == 2


def test_large_batch_after_a_larger_one_has_nothing_of_it() -> None:
    topic, buffers = TopicLanes(1, lanes=1), Buffers()
    for count, size in ((250, 1000), (100, 1300)):
        messages = [make(bytes([number % 256]) * size) for number in range(count)]
        made = load(topic, messages, 0, buffers)
        [(_, _, _, _, parts, whole)] = made.parts
        payload = b"".join(parts)
        assert len(payload) == whole
        assert decode(memoryview(payload), count) == messages
        made.give_back()
    assert len(buffers._free[1 << 18]) == 1
