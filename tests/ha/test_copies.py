"""Copies that are taken over, dropped or sent again, while the rung, the log or the slot answers late or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.ha.test_retained import GROUPS, Host

from evermq.errors import Overloaded
from evermq.message import Message
from evermq.settling import Report


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    found = Host(tmp_path)
    await found.read()
    yield found
    await found.retained.close()


async def test_copies_that_could_not_be_taken_over_stay_where_they_are(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(messages: Sequence[Message]) -> None:
        raise Overloaded("no room")

    await host.kept(1, 2)
    await host.retained.close()
    host.retained = host.process()
    with monkeypatch.context() as patch:
        patch.setattr(host.retained._copies, "keep", full)
        for _ in GROUPS:
            with pytest.raises(Overloaded):
                await host.retained._copies.adopt()
    await host.retained._copies.adopt()
    await host.look()
    assert await host.look() == [1, 2]


async def test_slot_into_which_a_copy_came_while_it_was_asked_is_not_taken_for_empty(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nobody would look into it once this process is gone."""
    await host.kept(1)
    for group in GROUPS:
        await host.settle(group, 1)
    copies = host.retained._copies
    assert copies._queue
    backlog = copies._queue.backlog

    async def slow(group: str, lane: str | None = None) -> int:
        found = await backlog(group, lane)
        if group == GROUPS[-1]:
            await host.kept(2)
        return found

    monkeypatch.setattr(copies._queue, "backlog", slow)
    await host.look()
    assert not copies.is_empty


async def test_what_is_settled_while_the_rung_is_asked_is_not_missing(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    await host.kept(1, 2)
    host.rung.left = {"audit": 2, "billing": 2}
    await host.look()
    backlog = host.rung.backlog

    async def settled(group: str, lane: str | None = None) -> int:
        await host.settle(group, 1)
        host.rung.left[group] = 1
        return await backlog(group, lane)

    monkeypatch.setattr(host.rung, "backlog", settled)
    assert await host.look() == []


async def test_what_was_sent_again_and_is_appended_once_more_is_copied_as_anything_else(host: Host) -> None:
    await host.kept(1)
    await host.look()
    assert await host.look() == [1]
    kept = host.retained.counts.kept
    await host.retained.keep(host.last)
    assert host.retained.counts.kept == kept + 1


async def test_what_came_to_the_rung_after_all_is_sent_again_where_that_loses_it_once_more(host: Host) -> None:
    """It went to the host's last rung when it was sent again, and that was pumped."""
    await host.kept(1)
    await host.look()
    assert await host.look() == [1]
    host.rung.left = dict.fromkeys(GROUPS, 1)
    await host.retained.keep(host.last)
    assert await host.look() == []
    host.rung.left = dict.fromkeys(GROUPS, 0)
    assert await host.look() == [1]


async def test_copies_that_were_taken_over_behind_later_ones_of_their_stream_are_told_of(host: Host) -> None:
    """Another process had them, and ended after their producer had begun again, and ended once more."""
    host.retained._copies._window_count_max, host.rung.left = 3, dict.fromkeys(GROUPS, 6)
    for numbers in [(8, 9), (1, 2), (3, 4)]:
        await host.kept(*numbers)
    reader = await host.progress.join("billing")
    told = []
    for settled in [(), (8, 9), (8, 9, 1), (8, 9, 1, 2), (8, 9, 1, 2, 3, 4)]:
        await host.settle("billing", *settled)
        await host.look()
        await host.retained.tell()
        held = [each for report in (await reader.renew(Report())).reports for each in report.held]
        told.append([(each.seq, each.last) for each in held])
    assert told == [[(1, 9)], [(1, 4)], [(2, 4)], [(3, 4)], []]
