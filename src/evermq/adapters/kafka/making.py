"""Makes the drivers' clients. A setting that a driver does not take is an error of evermq, as everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaException

from evermq.adapters.kafka.errors import class_of
from evermq.adapters.kafka.settings import Settings
from evermq.errors import Misconfigured, Unavailable

__all__ = ["check", "made"]

T = TypeVar("T")


def check(settings: Settings) -> None:
    """Let the driver look at what a URL says of readers, before anything is connected. Raises Misconfigured."""
    alone = {name: value for name, value in settings.consumer("check", "check").items() if name != "bootstrap.servers"}
    made(Consumer, alone).close()


def made(kind: Callable[[Mapping[str, Any]], T], settings: Mapping[str, Any]) -> T:
    """A client of confluent-kafka. Raises Misconfigured with the name of the setting."""
    try:
        return kind(settings)
    except KafkaException as error:
        why = error.args[0]
        wrong = class_of(why.code()) is Misconfigured
        raise (Misconfigured if wrong else Unavailable)(f"kafka: {why.str().strip()}") from None
