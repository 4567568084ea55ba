"""Which servers are taken, by what they say of themselves."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from evermq.adapters.rabbitmq.connect import message_bytes_max, version
from evermq.errors import Unsupported


def server(**said: object) -> SimpleNamespace:
    return SimpleNamespace(server_properties=said)


@pytest.mark.parametrize(
    ("said", "found"), [("3.8.0", (3, 8, 0)), ("3.10.8+deb12", (3, 10, 8)), ("4.1.0-rc.1", (4, 1, 0)), ("4", (4,))]
)
def test_version_is_read_and_kept(said: str, found: tuple[int, ...]) -> None:
    assert version(server(product="RabbitMQ", version=said), "here") == found


def test_server_that_is_too_old_is_told_with_its_version_and_the_least_one() -> None:
    with pytest.raises(Unsupported, match=r"here is RabbitMQ 3\.7\.28: RabbitMQ 3\.8 or later is needed"):
        version(server(product="RabbitMQ", version="3.7.28"), "here")


@pytest.mark.parametrize("said", ["", "unknown", None])
def test_version_that_cannot_be_read_is_no_version_that_is_taken(said: object) -> None:
    with pytest.raises(Unsupported, match=r"3\.8 or later"):
        version(server(product="RabbitMQ", version=said), "here")


@pytest.mark.parametrize("properties", [None, {}, {"product": "Qpid", "version": "9.2.0"}])
def test_server_of_another_kind_is_told_as_what_it_says_it_is(properties: dict[str, object] | None) -> None:
    name = (properties or {}).get("product", "something")
    with pytest.raises(Unsupported, match=f"here is {name}"):
        version(SimpleNamespace(server_properties=properties), "here")


def test_largest_message_is_that_of_the_version() -> None:
    assert message_bytes_max((3, 13, 7)) == 8 * message_bytes_max((4, 0)) == 128 << 20
