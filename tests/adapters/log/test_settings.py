"""What an owner keeps to is what all get who use the log through it."""

from pathlib import Path
from typing import Any

import pytest

import evermq
from evermq.adapters.open import open_log
from evermq.adapters.remote.client import RemotePlace
from evermq.errors import Misconfigured
from evermq.message import MessageFactory
from evermq.traits import Durable

OWNERS: dict[str, Any] = {"unread": "drop", "bytes_max": "300000", "segment_bytes": "65536", "retain_ms": "1000"}
OTHERS: dict[str, Any] = {
    "fsync": "never",
    "interval_ms": "5",
    "segment_bytes": "131072",
    "spares_max": "1",
    "message_bytes_max": "10",
    "retain_bytes": "1",
    "retain_ms": "2",
    "bytes_max": "400000",
    "unread": "refuse",
}


@pytest.mark.parametrize(("owners", "asked"), [("never", "always"), ("interval", "never"), ("", "never")])
async def test_other_fsync_than_the_owner_s_is_refused(tmp_path: Path, owners: str, asked: str) -> None:
    owner = await evermq.open(f"log://{tmp_path}/orders" + (f"?fsync={owners}" if owners else ""))
    with pytest.raises(Misconfigured, match=f"fsync={owners or 'always'}, .* fsync={asked}: leave fsync out"):
        await evermq.open(f"log://{tmp_path}/orders?fsync={asked}")
    same = await evermq.open(f"log://{tmp_path}/orders?lanes=3&fsync={owners or 'always'}")
    await same.close()
    await owner.close()


@pytest.mark.parametrize(("name", "value"), OTHERS.items())
async def test_every_option_that_differs_from_the_owner_s_is_refused(tmp_path: Path, name: str, value: str) -> None:
    owner = await open_log(tmp_path, **OWNERS)
    asked: dict[str, Any] = {name: value}
    with pytest.raises(Misconfigured, match=rf"with {name}=\w+, .* not {name}={value}: leave {name} out.* or end"):
        await open_log(tmp_path, **asked)
    await owner.close()


async def test_all_options_that_differ_are_named_at_once(tmp_path: Path) -> None:
    owner = await open_log(tmp_path, **OWNERS)
    asked: dict[str, Any] = {"unread": "refuse", "bytes_max": "0", "retain_ms": "1000"}
    with pytest.raises(Misconfigured, match=r"with unread=drop, bytes_max=300000, .* not unread=refuse, bytes_max=0: "):
        await open_log(tmp_path, **asked)
    await owner.close()


async def test_same_options_in_other_words_are_the_owner_s(tmp_path: Path) -> None:
    owner = await open_log(tmp_path, segment_bytes=65_536, message_bytes_max=60_000)  # more than a segment takes
    same = await open_log(tmp_path, segment_bytes="065536", message_bytes_max="60000")
    await same.close()
    await owner.close()


async def test_who_asks_for_nothing_takes_what_there_is(tmp_path: Path) -> None:
    owner = await open_log(tmp_path, fsync="never", **OWNERS)
    guest = await evermq.open(f"log://{tmp_path}/orders")
    assert guest.traits.durable == Durable.PROCESS
    await guest.close()
    await owner.close()


async def test_topic_that_a_guest_makes_has_the_lanes_that_the_guest_asks_for(tmp_path: Path) -> None:
    owner = await open_log(tmp_path, lanes=4)
    guest = await open_log(tmp_path, lanes=8)
    assert (await guest.queue("orders")).traits.lanes == 8
    await guest.create("made")
    assert (await owner.describe("made")).lanes == 8
    assert (await owner.queue("owners")).traits.lanes == 4
    assert (await guest.queue("owners")).traits.lanes == 4  # one that exists keeps its lanes, as with an owner
    await guest.close()
    await owner.close()


async def test_owner_that_does_not_tell_an_option_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await open_log(tmp_path)

    async def told_by_older(_: RemotePlace) -> dict[str, str]:
        return {"fsync": "always"}

    monkeypatch.setattr(RemotePlace, "settings", told_by_older)
    guest = await open_log(tmp_path, fsync="always", retain_ms=5)
    await guest.close()
    await owner.close()


async def test_next_owner_that_keeps_to_less_is_told_to_who_asked_for_more(tmp_path: Path) -> None:
    first = await open_log(tmp_path, fsync="always")
    guest = await evermq.open(f"log://{tmp_path}/orders?fsync=always")
    await first.close()
    second = await open_log(tmp_path, fsync="never")
    with pytest.raises(Misconfigured, match="fsync=never"):
        await guest.append([MessageFactory()(b"body")])
    await guest.close()
    await second.close()
