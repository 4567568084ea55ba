"""Every error code of both drivers has a class that says what the caller may do next."""

import aiokafka.errors
import pytest
from confluent_kafka import KafkaError

from evermq.adapters.kafka.errors import AGAIN, CLASSES, CLIENT_CLASSES, class_of, of_aiokafka
from evermq.errors import Denied, Fenced, NoSuchTopic, Overloaded, TooLarge, Unavailable, Uncertain

NAMES = [name for name in dir(KafkaError) if isinstance(getattr(KafkaError, name), int) and name != "NO_ERROR"]
EXCEPTIONS = [
    each
    for each in vars(aiokafka.errors).values()
    if isinstance(each, type)
    and issubclass(each, aiokafka.errors.KafkaError)
    and each is not aiokafka.errors.BrokerResponseError  # the abstract one
]


@pytest.mark.parametrize("name", NAMES)
def test_code_of_librdkafka_has_a_class(name: str) -> None:
    assert getattr(KafkaError, name) in CLASSES, f"{name} is new: say in errors.py what it means"


@pytest.mark.parametrize("code", sorted(aiokafka.errors.kafka_errors.keys() - {0}))
def test_code_of_aiokafka_has_a_class(code: int) -> None:
    assert code in CLASSES


@pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda kind: kind.__name__)
def test_exception_of_aiokafka_becomes_one_of_evermq(kind: type[Exception]) -> None:
    error = of_aiokafka(kind(), "sending")
    expected = CLIENT_CLASSES.get(kind.__name__) or class_of(getattr(kind, "errno", None) or -1)
    assert type(error) is expected
    assert str(error).startswith("sending: ")


def test_what_nobody_listed_is_uncertain() -> None:
    assert class_of(31_999) is Uncertain
    assert class_of(-31_999) is Uncertain


@pytest.mark.parametrize(
    ("name", "kind"),
    [
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
    ],
)
def test_codes_that_matter_are_told_apart(name: str, kind: type[Exception]) -> None:
    assert class_of(getattr(KafkaError, name)) is kind


def test_nothing_that_was_refused_for_good_is_sent_again() -> None:
    assert all(issubclass(CLASSES[code], Unavailable | Uncertain | NoSuchTopic) for code in AGAIN)
