"""The control plane tells all or says what is missing."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError

from evermq.adapters.kafka.admin import Admin
from evermq.errors import Denied, EvermqError, Unavailable


class Brokers:
    """Answers as librdkafka does, of which each broker's answer may be an error."""

    def __init__(self, codes: list[int]) -> None:
        self.errors = [KafkaError(code) for code in codes]

    def poll(self, wait_s: float) -> None:
        pass

    def list_consumer_groups(self, request_timeout: float) -> Future[Any]:
        found: Future[Any] = Future()
        groups = [SimpleNamespace(group_id=name) for name in ("shipping", "billing")]
        found.set_result(SimpleNamespace(valid=groups, errors=self.errors))
        return found


def admin(*codes: int) -> Admin:
    made = Admin.__new__(Admin)  # which would connect
    made._where, made._refusal = "kafka://test", None
    made._opened = Brokers(list(codes))
    return made


async def test_groups_are_those_of_all_brokers() -> None:
    assert await admin().groups() == ["billing", "shipping"]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError._TIMED_OUT, Unavailable),
        (KafkaError.COORDINATOR_LOAD_IN_PROGRESS, Unavailable),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, Denied),
    ],
)
async def test_groups_that_one_broker_does_not_tell_are_not_left_out_in_silence(
    code: int, kind: type[EvermqError]
) -> None:
    with pytest.raises(kind, match="groups of one of the brokers"):
        await admin(code).groups()
