"""What the management interface tells, without any server."""

from __future__ import annotations

import logging

import pytest

from evermq.adapters.rabbitmq.link import Login
from evermq.adapters.rabbitmq.management import Management, demand
from evermq.adapters.rabbitmq.seen import Seen
from evermq.errors import Denied, EvermqError, Misconfigured, Unavailable
from evermq.traits import Durable

LOGIN = Login([("127.0.0.1", 1)], "/", "guest", "guest", None, 60, 1_000)


@pytest.mark.parametrize("text", ["user:canary@h:15672", "http://user:canary@h,u:canary@g", "user:canary/x@h"])
def test_password_in_the_address_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(Misconfigured, match="give host:port") as caught:
        Management.of(text, LOGIN)
    assert "canary" not in str(caught.value)


class Telling(Management):
    """A management interface that tells this of the only queue, or answers with this error."""

    def __init__(self, tells: Seen | EvermqError) -> None:
        super().__init__([], LOGIN)
        self._tells = tells

    async def queues(self, topic: str, group: str = "") -> dict[str, Seen]:
        if isinstance(self._tells, EvermqError):
            raise self._tells
        return {f"{topic}:a:0": self._tells}


@pytest.mark.parametrize(
    ("management", "why"),
    [
        (None, "give management=host:15672"),
        (Telling(Unavailable("h:15672: refused")), "h:15672: refused"),
        (Telling(Denied("h: 401")), "h: 401"),
    ],
    ids=["none", "away", "denied"],
)
async def test_policies_that_nobody_could_see_are_told_at_start_and_disk_is_taken_for_kept(
    management: Management | None, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "evermq.rabbitmq"):
        assert await demand(Durable.DISK, management, "orders") == Durable.DISK
    [said] = caplog.records
    assert said.levelno == logging.INFO
    assert all(part in said.getMessage() for part in ("orders", "message-ttl", "not seen", why))


async def test_policies_that_were_seen_and_are_good_are_not_told_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "evermq.rabbitmq"):
        assert await demand(Durable.DISK, Telling(Seen(members=3, unsettled=0)), "orders") == Durable.REPLICATED
    assert not caplog.records
