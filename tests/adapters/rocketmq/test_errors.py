"""Every code of the proxy and of gRPC has a class that says what the caller may do next."""

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata
from tests.adapters.error_tables import cases, check_complete

from evermq.adapters.rocketmq.errors import BROKER_CODES, CODES, STATUSES, certain, of_broker, of_code, of_rpc
from evermq.adapters.rocketmq.protocol import CODE_NAMES, definition
from evermq.errors import Denied, EvermqError, NoSuchTopic, Overloaded, TooLarge, Unavailable, Uncertain, Unsupported

FAILURES = sorted(set(definition.Code.keys()) - {"OK"})
STATUS_FAILURES = [status for status in StatusCode if status is not StatusCode.OK]


def rpc(status: StatusCode, details: str = "") -> AioRpcError:
    return AioRpcError(status, Metadata(), Metadata(), details)


@pytest.mark.parametrize("name", FAILURES)
def test_code_of_the_proxy_has_a_class(name: str) -> None:
    check_complete([name], CODES)
    assert type(of_code(definition.Code.Value(name), "said", "doing")) is CODES[name]


def test_no_code_is_listed_that_the_proxy_does_not_have() -> None:
    assert set(CODES) == set(FAILURES)
    assert set(CODE_NAMES.values()) == {*FAILURES, "OK"}


@pytest.mark.parametrize("status", STATUS_FAILURES, ids=str)
def test_status_of_grpc_has_a_class(status: StatusCode) -> None:
    assert type(of_rpc(rpc(status), "doing")) is STATUSES[status]


def test_code_that_nobody_listed_is_uncertain() -> None:
    assert type(of_code(77_777, "", "doing")) is Uncertain
    assert "77777" in str(of_code(77_777, "", "doing"))


@cases(
    ("subscription group [a] does not exist, \nSee https://x", NoSuchTopic),
    ('Cannot invoke "TopicConfig.getPerm()" because "topicConfig" is null', NoSuchTopic),
    ("service not available now. It may be caused by one of the following reasons", Unavailable),
    ("settings is null", Unavailable),
    ("the message is illegal, maybe msg body or properties length not matched", TooLarge),
    ("something else", Uncertain),
)
def test_internal_error_is_told_by_its_sentence(error: str, expected: type[EvermqError]) -> None:
    found = of_code(definition.Code.Value("INTERNAL_SERVER_ERROR"), error, "append")
    assert type(found) is expected
    assert "append" in str(found)
    assert "\n" not in str(found)


def test_topic_that_is_gone_is_not_one_of_another_type() -> None:
    """The proxy asks for the type of a topic before whether there is one."""
    code = definition.Code.Value("MESSAGE_PROPERTY_CONFLICT_WITH_TYPE")
    said = "TopicMessageType validate failed, the expected type is {}, but actual type is NORMAL"
    assert type(of_code(code, said.format("UNSPECIFIED"), "append")) is NoSuchTopic
    assert type(of_code(code, said.format("FIFO"), "append")) is Unsupported


@cases(
    (rpc(StatusCode.UNAVAILABLE, "failed to connect to all addresses"), Unavailable),
    (rpc(StatusCode.UNAVAILABLE, "Ssl handshake failed: CERTIFICATE_VERIFY_FAILED"), Denied),
    (rpc(StatusCode.UNAVAILABLE, "Socket closed"), Uncertain),
    (rpc(StatusCode.RESOURCE_EXHAUSTED, "gRPC message exceeds: larger than max"), TooLarge),
    (rpc(StatusCode.RESOURCE_EXHAUSTED, "busy"), Overloaded),
)
def test_transport_says_whether_the_request_left(error: AioRpcError, expected: type[EvermqError]) -> None:
    assert type(of_rpc(error, "append")) is expected


def test_code_of_a_broker_that_nobody_listed_is_uncertain() -> None:
    assert type(of_broker(4711, "said", "look")) is Uncertain
    for code, kind in BROKER_CODES.items():
        assert type(of_broker(code, "said", "look")) is kind


def test_doubt_about_what_may_be_asked_again_is_none() -> None:
    assert type(certain(Uncertain("x"))) is Unavailable
    assert type(certain(Denied("x"))) is Denied
