"""Several processes and one directory: one owner at a time, however the others come and go."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.e2e.puppet import Puppet

LARGE = "x" * (4 << 20)  # more than the socket takes while nobody reads from it


@pytest.fixture
def pair() -> Iterator[tuple[Puppet, Puppet]]:
    with ExitStack() as stack:
        yield stack.enter_context(Puppet()), stack.enter_context(Puppet())


def test_of_two_that_open_at_once_one_is_the_owner(tmp_path: Path, pair: tuple[Puppet, Puppet]) -> None:
    for race in range(50):
        for puppet in pair:
            puppet.tell("open", tmp_path / str(race))
        assert sorted(puppet.hear() for puppet in pair) == [False, True]
        for puppet in pair:
            puppet.tell("append", "one", "two")
        assert [puppet.hear() for puppet in pair] == [2, 2]
        assert sorted(pair[race % 2].do("bodies", "g")) == ["one", "one", "two", "two"]
        for puppet in pair:
            puppet.tell("close")
        assert [puppet.hear() for puppet in pair] == [None, None]


def test_owner_whose_lock_file_was_removed_is_still_the_only_one(tmp_path: Path, pair: tuple[Puppet, Puppet]) -> None:
    owner, other = pair
    assert owner.do("open", tmp_path) is True
    (tmp_path / "lock").unlink()
    assert other.do("open", tmp_path) is False
    assert [puppet.do("append", "x") for puppet in pair] == [1, 1]


def test_directory_that_was_moved_away_is_not_served_any_more(tmp_path: Path, pair: tuple[Puppet, Puppet]) -> None:
    owner, other = pair
    assert owner.do("open", tmp_path / "log") is True
    assert owner.do("append", "before") == 1
    (tmp_path / "log").rename(tmp_path / "moved")
    until = time.monotonic() + 10
    while isinstance(told := owner.do("append", "after"), int) and time.monotonic() < until:
        time.sleep(0.02)
    assert "moved or removed" in told
    assert other.do("open", tmp_path / "moved") is True
    assert other.do("append", "later") == 1


def test_forked_child_is_told_to_open_again_and_holds_nothing_back(tmp_path: Path, pair: tuple[Puppet, Puppet]) -> None:
    owner, other = pair
    assert owner.do("open", tmp_path) is True
    child, told = owner.do("fork")
    try:
        assert "fork" in told
        assert owner.do("append", "from the parent") == 1
        owner.kill()  # the child lives on, with every descriptor it was born with
        assert other.do("open", tmp_path) is True
        assert other.do("append", "from the next owner") == 1
        assert sorted(other.do("bodies", "g")) == ["from the next owner", "from the parent"]
    finally:
        os.kill(child, signal.SIGKILL)


def test_frozen_owner_is_named_and_used_again_once_it_goes_on(tmp_path: Path, pair: tuple[Puppet, Puppet]) -> None:
    owner, other = pair
    assert owner.do("open", tmp_path) is True
    assert other.do("open", tmp_path, 1_000) is False
    assert other.do("append", "before") == 1
    owner.signal(signal.SIGSTOP)
    told = other.do("append", "while it is frozen")
    assert told.startswith("Uncertain")
    assert f"kill -CONT {owner.pid}" in told
    told = other.do("open", tmp_path, 1_000)
    assert told.startswith(("Unavailable", "ConnectionLost"))
    assert f"process {owner.pid}," in told
    owner.signal(signal.SIGCONT)
    assert other.do("open", tmp_path, 5_000) is False
    assert other.do("append", "afterwards") == 1
    bodies = owner.do("bodies", "g")
    assert "afterwards" in bodies


def test_frozen_owner_that_takes_nothing_is_named(tmp_path: Path, pair: tuple[Puppet, Puppet]) -> None:
    owner, other = pair
    assert owner.do("open", tmp_path) is True
    assert other.do("open", tmp_path, 1_000) is False
    assert other.do("append", "before") == 1
    owner.signal(signal.SIGSTOP)
    told = other.do("append", LARGE)
    assert told.startswith("Uncertain")
    assert f"kill -CONT {owner.pid}" in told
    assert other.do("close") is None


def test_calls_given_up_at_a_frozen_owner_that_takes_nothing_do_not_stand_in_the_way_of_the_next_owner(
    tmp_path: Path, pair: tuple[Puppet, Puppet]
) -> None:
    owner, other = pair
    assert owner.do("open", tmp_path) is True
    assert other.do("open", tmp_path, 1_000) is False
    assert other.do("append", "before") == 1
    owner.signal(signal.SIGSTOP)
    other.do("append_within", 2_500, LARGE)
    assert other.do("append_within", 100, "given up") is False
    owner.kill()
    assert other.do("append", "by the next owner") == 1
    assert sorted(other.do("bodies", "g")) == ["before", "by the next owner"]


def test_killed_owner_is_replaced_and_appends_under_way_are_uncertain(
    tmp_path: Path, pair: tuple[Puppet, Puppet]
) -> None:
    owner, other = pair
    assert owner.do("open", tmp_path) is True
    assert other.do("open", tmp_path) is False
    other.tell("append_many", 1_000_000)
    time.sleep(0.2)
    owner.kill()
    acknowledged, error = other.hear()
    assert error == "Uncertain"
    assert acknowledged
    assert other.do("append", "by the next owner") == 1
    bodies = other.do("bodies", "g")
    assert set(acknowledged) | {"by the next owner"} <= set(bodies)
    assert len(bodies) - len(acknowledged) <= 2, "of what was uncertain there was one"


def test_owner_that_is_closed_in_order_leaves_no_append_uncertain(tmp_path: Path, pair: tuple[Puppet, Puppet]) -> None:
    owner, other = pair
    for turn in range(5):
        directory = tmp_path / str(turn)
        assert owner.do("open", directory) is True
        assert other.do("open", directory) is False
        other.tell("append_many", 500)
        time.sleep(0.1)
        assert owner.do("close") is None
        acknowledged, error = other.hear()
        assert error == ""
        assert sorted(other.do("bodies", "g")) == sorted(acknowledged)
        assert other.do("close") is None
