"""What a group has in hand, against a plain list of what should be handed out."""

from __future__ import annotations

from evermq.adapters.rocketmq.window import Item, Window
from evermq.message import NO_HEADERS, Message
from evermq.position import Position


def window(*keys: bytes | None, ordered: bool = False) -> Window:
    found = Window(ordered=ordered)
    for number, key in enumerate(keys, 1):
        message = Message(str(number), key, b"", NO_HEADERS, 0)
        found.add(Item(message, Position("0", number), 1, str(number), "handle", 1_000))
    return found


def taken(found: Window, owner: str, now_ms: float = 0, count_max: int = 99) -> list[tuple[str, int]]:
    return [(item.message.id, item.attempt) for _, item in found.take(owner, count_max, now_ms)]


def test_each_message_is_handed_to_one_reader() -> None:
    found = window(None, None, None)
    assert taken(found, "a", count_max=2) == [("1", 1), ("2", 1)]
    assert taken(found, "b") == [("3", 1)]
    assert taken(found, "a") == []


def test_only_the_reader_that_has_a_message_settles_it() -> None:
    found = window(None, None)
    taken(found, "a")
    found.settle("b", [1, 2])
    assert len(found.items) == 2
    found.settle("a", [1, 1, 7])
    assert list(found.items) == [2]


def test_released_message_comes_when_it_is_due_as_the_next_attempt() -> None:
    found = window(b"k", b"k")
    taken(found, "a")
    found.release("a", [1], due_ms=50)
    assert (found.due_ms(), found.delays()) == (50, {1: 50})
    assert taken(found, "b", now_ms=49) == []
    assert taken(found, "b", now_ms=50) == [("1", 2)]


def test_ordered_release_takes_what_is_behind_of_the_same_key_with_it() -> None:
    found = window(b"k", b"x", b"k", b"k", ordered=True)
    taken(found, "a")
    found.release("a", [3], due_ms=10)
    assert sorted(found.delays()) == [3, 4]
    found.settle("a", [1])
    assert taken(found, "a", now_ms=10) == [("3", 2), ("4", 2)]


def test_ordered_key_is_with_one_reader_at_a_time() -> None:
    found = window(b"k", b"k", b"x", ordered=True)
    assert taken(found, "a", count_max=1) == [("1", 1)]
    assert taken(found, "b") == [("3", 1)]
    found.settle("a", [1])
    assert taken(found, "b") == [("2", 1)]


def test_ordered_key_waits_behind_what_is_parked() -> None:
    found = window(b"k", b"k", None, ordered=True)
    taken(found, "a", count_max=1)
    found.release("a", [1], due_ms=10)
    assert taken(found, "b") == [("3", 1)]
    assert taken(found, "b", now_ms=10) == [("1", 2), ("2", 1)]


def test_reader_that_goes_leaves_what_it_had_to_the_others() -> None:
    found = window(b"k", b"k", ordered=True)
    taken(found, "a")
    found.give_up("a", now_ms=5)
    assert taken(found, "b", now_ms=5) == [("1", 2), ("2", 2)]


def test_dropped_messages_are_forgotten_wherever_they_were() -> None:
    found = window(None, None, None)
    taken(found, "a", count_max=2)
    found.release("a", [1], due_ms=10)
    assert list(found.drop([1, 2, 3])) == [1, 2, 3]
    assert (found.items, found.delays(), found.ready_count) == ({}, {}, 0)
    assert taken(found, "a", now_ms=99) == []
