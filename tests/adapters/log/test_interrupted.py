"""A thread that is interrupted while it writes leaves nobody waiting, and tells nobody that it is stored."""

from pathlib import Path

import pytest

from evermq.adapters.log.place import LogPlace
from evermq.errors import Unavailable
from evermq.message import MessageFactory


@pytest.mark.parametrize("count", [1, 2])
async def test_interrupted_writer_closes_the_log_and_hands_the_turn_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    place = await LogPlace.open(tmp_path)
    queue, message = await place.queue("orders"), MessageFactory()
    queue.append_blocking([message("before")])

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    file = type(place.journal.segments[-1].file)
    with monkeypatch.context() as patch:
        patch.setattr(file, "pwrite", interrupt)
        with pytest.raises(KeyboardInterrupt):
            queue.append_blocking([message("lost")] * count)
    assert place.committer.quiet()
    with pytest.raises(Unavailable):
        queue.append_blocking([message("behind")])
    await place.close()
