"""What a URL says, and how a wrong one is refused."""

import traceback

import pytest

from evermq.adapters.address import parse
from evermq.errors import Misconfigured


def test_topic_is_the_last_part_of_the_path() -> None:
    assert parse("log:///var/lib/shop/orders").place == "/var/lib/shop"
    assert parse("kafka://k1:9092,k2/orders").topic == "orders"
    assert parse("rabbitmq://r1/shop/orders").place == "r1/shop"


def test_hosts_may_be_several_and_need_no_port() -> None:
    assert parse("kafka://k1:9092,k2/orders").hosts == [("k1", 9092), ("k2", None)]
    assert parse("kafka://[::1]:9092/orders").hosts == [("::1", 9092)]


def test_options_are_not_shown_with_the_address() -> None:
    address = parse("redis://r1/orders?password=env:CANARY&lanes=8")
    assert address.options == {"password": "env:CANARY", "lanes": "8"}
    assert str(address) == "redis://r1/orders"


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("kafak://k1/orders", "did you mean kafka://"),
        ("orders", "this is no URL"),
        ("kafka://k1", "the topic is missing"),
        ("kafka:///orders", "what stands before the topic is missing"),
        ("log://var/orders", "log:///var/orders"),
        ("log:///var/or ders", "topic"),
        ("log:///var/orders#1", "leave it out"),
        ("log:///var/or%2Fders", "%2F is a slash"),
        ("log:///v%2far/orders", "%2F is a slash"),
        ("kafka://k1/or%2Fders", "%2F is a slash"),
        ("log:///var/orders?lanes", "option=value"),
        ("log:///var/orders?lanes=1&lanes=2", "twice"),
    ],
)
def test_wrong_url_is_refused_with_the_way_out(url: str, word: str) -> None:
    with pytest.raises(Misconfigured, match=word):
        parse(url)


def test_password_in_a_url_is_refused_and_not_shown() -> None:
    with pytest.raises(Misconfigured, match="env:VARIABLE") as caught:
        parse("redis://user:canary@r1/orders")
    assert "canary" not in str(caught.value)


def test_port_that_is_no_number_is_refused() -> None:
    with pytest.raises(Misconfigured, match="host:port"):
        _ = parse("kafka://k1:abc/orders").hosts


@pytest.mark.parametrize(
    "url",
    [
        "amqp://app:canary@h/t",
        "rdis://h/t?password=canary",
        "redis://app:canary#b@h/t",
        "redis://app:a#canary@h/t",
        "redis://app:canary/b@h/t",
        "redis://app:a/canary@h/t",
        "redis://app:canary?b@h/t",
        "redis://h/t?password=canary#x",
        "redis://h/t?password=a#canary",
        "redis://h/t?password=a&canary",
        "redis://h/t?password=canary&password=canary",
        "redis://app:canary@[::1/t",
        "redis://app:canary@h\n/t",
        "redis://app:canary\u2100@h/t",
        "app:canary@h/t",
        "redis://h?password=canary",
    ],
)
def test_no_error_shows_what_may_be_a_secret(url: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        parse(url)
    said = "".join(traceback.format_exception(caught.value, chain=True))
    assert "canary" not in str(caught.value)
    assert "canary" not in said.replace(url, "")  # but for the line of this test


def test_error_still_shows_which_url_is_meant() -> None:
    with pytest.raises(Misconfigured, match=r"^amqp://…@h/t: .*no queue"):
        parse("amqp://app:canary@h/t")
    with pytest.raises(Misconfigured, match=r"redis://h/t\?…: option lanes stands there twice"):
        parse("redis://h/t?lanes=1&lanes=2")
