"""What `evermq read` does with a lane that nobody can read any more."""

from __future__ import annotations

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.daemon.commands import read
from evermq.errors import Damaged
from evermq.port import Delivery, Reader


class Broken:
    """Says what it is told to; otherwise nothing is there."""

    def __init__(self, inner: Reader, *says: str) -> None:
        self._inner = inner
        self._says = list(says)
        self.ack, self.release, self.close = inner.ack, inner.release, inner.close

    async def read(self, *, count_max: int, wait_ms: int) -> list[Delivery]:
        if self._says:
            raise Damaged(self._says.pop(0))
        return []


@pytest.mark.parametrize(("says", "told", "is_stuck"), [(["a"] * 30, 1, True), (["a", "b"] * 30, 60, False)])
async def test_same_damage_again_and_again_is_told_once_and_ends_it(
    says: list[str], told: int, is_stuck: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(read, "_SAME_DAMAGE_PAUSE_MS", 0)
    queue = MemoryQueue("orders")
    whole = read.Whole(Broken(await queue.reader("g"), *says))
    for _ in range(60):
        if not whole.is_stuck:
            assert await whole.read(10, 0) == []
    assert (whole.is_damaged, whole.is_stuck) == (True, is_stuck)
    assert len(capsys.readouterr().err.splitlines()) == told
    await queue.close()
