"""What is wrong in a URL is told with its name and the fix, before anything is connected."""

from __future__ import annotations

import pytest

from evermq.adapters.address import parse
from evermq.adapters.redis.connect import topology
from evermq.adapters.redis.options import RedisOptions
from evermq.errors import Misconfigured


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("lanes=0", "lanes"),
        ("lanes=-3", "lanes"),
        ("lanes=many", "lanes"),
        ("lanes=1000000", "16384"),
        ("lanse=3", "did you mean lanes"),
        ("create=maybe", "yes or no"),
        ("require=gold", "disk"),
        ("cluster=yes&sentinel=main", "cluster"),
        ("lease_ms=1", "lease_ms"),
    ],
)
def test_wrong_option_is_named(query: str, named: str) -> None:
    with pytest.raises(Misconfigured, match=named):
        RedisOptions.of(parse(f"redis://h/orders?{query}").options)


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("redis://a,b/orders", "cluster=yes"),
        ("redis://a/3/orders", "db=N"),
        ("redis://a/orders?password=hunter2", "env:NAME or file:PATH"),
        ("redis://a/orders?sentinel=main&sentinel_password=hunter2", "env:NAME or file:PATH"),
    ],
)
def test_wrong_place_is_named_and_no_secret_is(url: str, named: str) -> None:
    address = parse(url)
    with pytest.raises(Misconfigured, match=named) as caught:
        topology(address, RedisOptions.of(address.options))
    assert "hunter2" not in str(caught.value)


def test_user_in_the_url_is_refused_without_repeating_it() -> None:
    with pytest.raises(Misconfigured) as caught:
        parse("redis://app:hunter2@h/orders")
    assert "hunter2" not in str(caught.value)
