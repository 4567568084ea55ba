"""What engines write down as a whole number is refused at the door where it is none; what was kept stays in reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evermq.adapters.open import open_place, open_queue
from evermq.errors import Misconfigured
from evermq.message import MessageFactory
from evermq.port import Start
from evermq.topics import check_group, check_lanes, check_topic

NO_WHOLE = (True, 1.0, 1.5, "1", None)
message = MessageFactory()


@pytest.mark.parametrize("value", NO_WHOLE)
def test_start_at_no_whole_number_is_refused(value: Any) -> None:
    with pytest.raises(Misconfigured, match="start offset"):
        Start("offset", value)


@pytest.mark.parametrize("lanes", [*NO_WHOLE, 0, -1])
def test_lanes_that_are_no_whole_number_are_refused(lanes: Any) -> None:
    with pytest.raises(Misconfigured, match="lanes ="):
        check_lanes(lanes)


@pytest.mark.parametrize("name", [5, None, b"orders"])
def test_name_that_is_no_text_is_refused(name: Any) -> None:
    for check in (check_topic, check_group):
        with pytest.raises(Misconfigured, match="letters, digits"):
            check(name)


async def test_directory_opens_again_after_lanes_that_were_none(tmp_path: Path) -> None:
    url = f"log://{tmp_path}/"
    place = await open_place(url)
    await place.create("kept", groups=["g"], lanes=1)
    await (await place.queue("kept")).append([message("a")])
    for lanes in (True, 4.0, 4.5):
        with pytest.raises(Misconfigured, match="lanes ="):
            await place.create("other", lanes=lanes)  # type: ignore[arg-type]
    await place.close()
    queue = await open_queue(f"{url}kept")
    assert await queue.backlog("g") == 1
    await queue.close()


@pytest.mark.parametrize("lanes", ["²", "0", "-1", "1.0"])
async def test_lanes_in_a_url_that_are_no_number_are_refused(lanes: str) -> None:
    with pytest.raises(Misconfigured, match="lanes"):
        await open_place(f"memory://digits-{ord(lanes[0])}/?lanes={lanes}")


async def test_lane_of_other_digits_is_refused(tmp_path: Path) -> None:
    queue = await open_queue(f"log://{tmp_path}/orders?lanes=1")
    await queue.reader("g")
    with pytest.raises(Misconfigured, match="has lanes 0 to 0"):
        await queue.backlog("g", "²")
    await queue.close()
