"""The faces without asyncio, used where they would wait for themselves."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from evermq.adapters.memory import MemoryQueue
from evermq.client import blocking
from evermq.errors import Misconfigured
from evermq.port import Delivery


def ends(work: Any) -> None:
    """In a thread, since what is tested here would hang for ever."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    if raised:
        raise raised[0]


def test_what_runs_in_the_loop_behind_the_scenes_may_not_wait_for_it() -> None:
    async def waits() -> None:
        blocking.run(asyncio.sleep(0))

    with pytest.raises(Misconfigured, match=r"evermq\.client instead"):
        ends(lambda: blocking.run(waits()))


class Over(BaseException):
    """Ends a consumer."""


def test_handler_that_is_a_coroutine_function_is_told_so_by_the_blocking_producer() -> None:
    queue, told = blocking.Queue(MemoryQueue("t")), list[BaseException]()
    with blocking.Producer(queue) as producer:
        producer.send(b"x")

        async def handle(delivery: Delivery) -> None:
            try:
                producer.send(b"again")
            except Misconfigured as error:
                told.append(error)
            raise Over

        with pytest.raises(Over):
            ends(lambda: blocking.Consumer(queue, "g").handle(handle))
    assert "would wait for itself" in str(told[0])


@pytest.mark.parametrize("wrong", [5, None, asyncio.sleep])
def test_what_is_no_coroutine_is_not_run(wrong: Any) -> None:
    with pytest.raises(Misconfigured, match=r"give a coroutine"):
        blocking.run(wrong)
