"""What an owner keeps to is what all get who use the log through it."""

from pathlib import Path

import pytest

import evermq
from evermq.adapters.open import open_log
from evermq.errors import Misconfigured
from evermq.message import MessageFactory
from evermq.traits import Durable


@pytest.mark.parametrize(("owners", "asked"), [("never", "always"), ("interval", "never"), ("", "never")])
async def test_other_fsync_than_the_owner_s_is_refused(tmp_path: Path, owners: str, asked: str) -> None:
    owner = await evermq.open(f"log://{tmp_path}/orders" + (f"?fsync={owners}" if owners else ""))
    with pytest.raises(Misconfigured, match=f"fsync={owners or 'always'}, .* fsync={asked}: leave fsync out"):
        await evermq.open(f"log://{tmp_path}/orders?fsync={asked}")
    same = await evermq.open(f"log://{tmp_path}/orders?lanes=3&fsync={owners or 'always'}")
    await same.close()
    await owner.close()


async def test_who_asks_for_nothing_takes_what_there_is(tmp_path: Path) -> None:
    owner = await open_log(tmp_path, fsync="never")
    guest = await evermq.open(f"log://{tmp_path}/orders")
    assert guest.traits.durable == Durable.PROCESS
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
