"""Every write and every flush of a real directory fails once, or from then on: never a false acknowledgement."""

from pathlib import Path

import pytest
from tests.e2e.dying_disk import FailAt, HookedDisk

from evermq.adapters.log.options import LogOptions
from evermq.adapters.log.place import LogPlace
from evermq.adapters.log.system_disk import SystemDisk
from evermq.errors import EvermqError, Unavailable, Uncertain
from evermq.message import MessageFactory

OPTIONS = LogOptions(segment_bytes=16 << 10, lanes=2, spares_max=1)
CALLS = 60


async def _append_until_it_fails(directory: Path, hook: FailAt) -> tuple[set[str], set[str], list[EvermqError]]:
    """The ids that were acknowledged, the ids that were refused for certain, and the errors met."""
    make = MessageFactory()
    acknowledged: set[str] = set()
    refused: set[str] = set()
    errors: list[EvermqError] = []
    place = LogPlace(HookedDisk(directory, hook), OPTIONS)
    try:
        queue = await place.queue("orders")
        reader = await queue.reader("g")
        for _ in range(25):
            batch = [make(bytes(200), key="k") for _ in range(4)]
            try:
                await queue.append(batch)
                acknowledged.update(message.id for message in batch)
                await reader.ack((await reader.read(count_max=2, wait_ms=0))[:1])
            except EvermqError as error:
                errors.append(error)
                if isinstance(error, Unavailable) and batch[0].id not in acknowledged:
                    refused.update(message.id for message in batch)
    finally:
        await place.close()
    return acknowledged, refused, errors


async def _stored(directory: Path) -> list[str]:
    place = LogPlace(SystemDisk(directory), OPTIONS, threaded=False)
    reader = await (await place.queue("orders")).reader("audit")
    found: list[str] = []
    while more := await reader.read(count_max=500, wait_ms=0):
        found += [delivery.message.id for delivery in more]
        await reader.ack(more)
    await place.close()
    return found


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("kind", ["write", "sync"])
async def test_failed_call_never_acknowledges_what_is_not_stored(tmp_path: Path, kind: str, for_ever: bool) -> None:
    bitten = uncertain = 0
    for number in range(1, CALLS, 4 if for_ever else 1):
        hook = FailAt(kind, number, for_ever=for_ever)
        directory = tmp_path / str(number)
        try:
            acknowledged, refused, errors = await _append_until_it_fails(directory, hook)
        except (EvermqError, OSError):
            bitten += hook.bitten
            continue  # it could not even be opened, and said so
        bitten += hook.bitten
        uncertain += any(isinstance(error, Uncertain) for error in errors)
        stored = await _stored(directory)
        assert acknowledged <= set(stored), f"{kind} {number}: acknowledged and not stored"
        assert not refused & set(stored), f"{kind} {number}: refused for certain, and stored"
        assert len(stored) == len(set(stored))
    assert bitten >= 10
    assert uncertain >= 1
