"""A reader's part of a lane: acks that form a prefix, and releases that take their key with them."""

from evermq.adapters.rabbitmq.window import LaneWindow
from evermq.message import NO_HEADERS, Message


def window(keys: str) -> LaneWindow:
    """Messages with tags from 1 on, one a letter; a dot has no key."""
    made = LaneWindow()
    for tag, key in enumerate(keys, 1):
        made.add(tag, Message(str(tag), None if key == "." else key.encode(), b"", NO_HEADERS, 0), 1)
    return made


def tags(made: LaneWindow, now_ms: float = 0, count_max: int = 100) -> list[int]:
    return [tag for tag, _ in made.take(count_max, now_ms)]


def test_acks_are_one_where_they_form_a_prefix() -> None:
    made = window("aaaaaa")
    tags(made)
    assert made.settle([2, 1]) == (2, [])
    assert made.settle([5, 3]) == (3, [5])
    assert made.settle([4, 6, 9]) == (6, [])
    assert not made.items
    assert made.out_count == 0


def test_ack_does_not_cover_what_was_not_handed_out() -> None:
    made = window("ab")
    assert tags(made, count_max=1) == [1]
    assert made.settle([1, 2]) == (1, [])
    assert list(made.items) == [2]


def test_release_takes_the_key_behind_it_along() -> None:
    made = window("abaca.")
    tags(made)
    made.release([3], due_ms=50)
    assert tags(made, 49) == []
    assert [(tag, item.attempt) for tag, item in made.take(9, 50)] == [(3, 2), (5, 2)]


def test_what_comes_later_of_a_parked_key_waits() -> None:
    made = window("a")
    tags(made)
    made.release([1], due_ms=50)
    made.add(2, Message("2", b"a", b"", NO_HEADERS, 0), 1)
    made.add(3, Message("3", b"b", b"", NO_HEADERS, 0), 1)
    assert tags(made, 10) == [3]
    assert made.due_ms() == 50
    assert tags(made, 50) == [1, 2]


def test_message_without_a_key_is_released_alone() -> None:
    made = window("...")
    tags(made)
    made.release([2], due_ms=0)
    assert tags(made, 0) == [2]


def test_lane_comes_again_when_nothing_is_out() -> None:
    made = window("aa")
    tags(made)
    made.release([1], due_ms=5)
    assert not made.comes_again(4)
    assert made.comes_again(5)
    tags(made, 5)
    assert not made.comes_again(9)
