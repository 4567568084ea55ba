"""Every error code of both drivers has a class that says what the caller may do next."""

import aiokafka.errors
import pytest
from confluent_kafka import KafkaError
from tests.adapters.error_tables import cases, check_complete, exceptions_of

from evermq.adapters.kafka.errors import AGAIN, CLASSES, CLIENT_CLASSES, class_of, of_aiokafka, of_librdkafka
from evermq.errors import Denied, EvermqError, Fenced, NoSuchTopic, Overloaded, TooLarge, Unavailable, Uncertain

NAMES = [name for name in dir(KafkaError) if isinstance(getattr(KafkaError, name), int) and name != "NO_ERROR"]
ABSTRACT = aiokafka.errors.BrokerResponseError
EXCEPTIONS = [each for each in exceptions_of(aiokafka.errors, aiokafka.errors.KafkaError) if each is not ABSTRACT]


def test_codes_of_librdkafka_have_a_class() -> None:
    check_complete(NAMES, [name for name in NAMES if getattr(KafkaError, name) in CLASSES])


def test_codes_of_aiokafka_have_a_class() -> None:
    check_complete(aiokafka.errors.kafka_errors.keys() - {0}, CLASSES)


@pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda kind: kind.__name__)
def test_exception_of_aiokafka_becomes_one_of_evermq(kind: type[Exception]) -> None:
    error = of_aiokafka(kind(), "sending")
    expected = CLIENT_CLASSES.get(kind.__name__) or class_of(getattr(kind, "errno", None) or -1)
    assert type(error) is expected
    assert str(error).startswith("sending: ")


def test_what_nobody_listed_is_uncertain() -> None:
    assert class_of(31_999) is Uncertain
    assert class_of(-31_999) is Uncertain


@cases(
    ("NOT_ENOUGH_REPLICAS", Unavailable),
    ("NOT_ENOUGH_REPLICAS_AFTER_APPEND", Uncertain),
    ("REQUEST_TIMED_OUT", Uncertain),
    ("_MSG_TIMED_OUT", Uncertain),
    ("_TRANSPORT", Uncertain),
    ("NOT_LEADER_FOR_PARTITION", Unavailable),
    ("MSG_SIZE_TOO_LARGE", TooLarge),
    ("TOPIC_AUTHORIZATION_FAILED", Denied),
    ("UNKNOWN_TOPIC_OR_PART", NoSuchTopic),
    ("PRODUCER_FENCED", Fenced),
    ("THROTTLING_QUOTA_EXCEEDED", Overloaded),
    ("INVALID_TIMESTAMP", Unavailable),
)
def test_codes_that_matter_are_told_apart(error: str, expected: type[EvermqError]) -> None:
    assert class_of(getattr(KafkaError, error)) is expected


def test_nothing_that_was_refused_for_good_is_sent_again() -> None:
    assert all(issubclass(CLASSES[code], Unavailable | Uncertain | NoSuchTopic) for code in AGAIN)


def test_member_whose_name_another_process_took_is_fenced_and_told_by_which_setting() -> None:
    """The driver has no code for it but the one of whatever ends it."""
    said = f"Fatal error: {KafkaError(KafkaError.FENCED_INSTANCE_ID).str()}: Fatal consumer error"
    error = of_librdkafka(KafkaError(KafkaError._FATAL, said), "group billing")
    assert type(error) is Fenced
    assert "group.instance.id" in str(error)
    assert type(of_librdkafka(KafkaError(KafkaError._FATAL, "Fatal error: other"), "group billing")) is Uncertain
