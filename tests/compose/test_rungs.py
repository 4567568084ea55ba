"""A rung that stands in a configuration twice, or is weaker than the topic demands, is refused with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from evermq.compose.build import open as open_topic
from evermq.compose.config import parse
from evermq.errors import Misconfigured


def ladder(primary: str, standby: str, more: str = "") -> str:
    return f'[topics.orders]\nuse = "failover"\nprimary = "{primary}"\nstandby = "{standby}"\n{more}'


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("redis://r1:6379/orders", "redis://r1:6379/orders"),
        ("redis://r1:6379/orders?lanes=128", "redis://r1/orders?lease_ms=500"),
        ("redis://r1:6379/orders", "rediss://r1:6379/orders"),
        ("redis://localhost/orders", "redis://127.0.0.1/orders"),
        ("kafka://k1:9092,k2:9092,k3:9092/orders", "kafka://k3,k4/orders"),
        ("rabbitmq://h/sales/orders", "rabbitmq://h:5672/sales/orders"),
        ("log:///var/lib/evermq/orders", "log:///var/lib/../lib/evermq/orders"),
        ("memory://here/orders", "memory://here/orders"),
    ],
)
def test_rung_that_appears_twice_is_refused(one: str, other: str) -> None:
    with pytest.raises(Misconfigured, match="primary and standby are the same queue"):
        parse(ladder(one, other), "evermq.toml")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("redis://r1:6379/orders", "redis://r1:6380/orders"),
        ("redis://r1/orders", "redis://r1/orders?db=1"),
        ("redis://s1/orders?sentinel=a", "redis://s1/orders?sentinel=b"),
        ("redis://r1/orders", "redis://r1/orders-standby"),
        ("redis://h:9092/orders", "kafka://h:9092/orders"),
        ("rabbitmq://h/sales/orders", "rabbitmq://h/stock/orders"),
        ("log:///a/orders", "log:///b/orders"),
    ],
)
def test_rungs_that_only_look_alike_are_accepted(one: str, other: str) -> None:
    assert parse(ladder(one, other), "evermq.toml")


def test_rung_that_appears_again_further_down_is_named() -> None:
    nested = '[topics.orders.last]\nuse = "spooled"\nlocal = "log:///a/orders"\nremote = "redis://r1/orders"\n'
    with pytest.raises(Misconfigured, match=r"standby and last\.remote are the same queue"):
        parse(ladder("kafka://k1/orders", "redis://r1/orders", nested), "evermq.toml")


async def test_rung_that_is_weaker_than_the_topic_demands_is_named(tmp_path: Path) -> None:
    config = tmp_path / "evermq.toml"
    config.write_text(ladder(f"log://{tmp_path}/log/orders", "memory://weak/orders", 'require = "disk"\n'))
    with pytest.raises(Misconfigured, match=r"requires disk, but .* survives only memory: standby keeps memory$"):
        await open_topic("orders", config)
