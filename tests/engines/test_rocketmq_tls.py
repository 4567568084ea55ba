"""RocketMQ's name servers and brokers by TLS, on real servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from evermq.adapters.address import parse
from evermq.adapters.open import open_place
from evermq.adapters.rocketmq.connect import parts
from evermq.adapters.rocketmq.inspect import inspect
from evermq.drills.engines.certificates import Secrets
from evermq.drills.engines.rocketmq import RocketMQSecured
from evermq.errors import Denied, EvermqError
from evermq.traits import Durable

TLS = "&remoting_tls=yes"


async def test_topics_are_made_and_seen_by_tls(rocketmq_secured_server: RocketMQSecured) -> None:
    url = rocketmq_secured_server.url(user="admin") + TLS
    place = await open_place(url)
    await place.create("app-tls", groups=["app-a"], lanes=1)
    assert "app-tls" in await place.topics()
    assert (await place.describe("app-tls")).groups["app-a"].backlog == 0
    assert (await inspect(parse(url, topic_needed=False))).durable == Durable.DISK
    await place.drop("app-tls")
    await place.close()


async def test_name_server_whose_certificate_is_of_another_authority_or_host_is_not_talked_to(
    rocketmq_secured_server: RocketMQSecured, tmp_path: Path
) -> None:
    other = Secrets.make(tmp_path / "other", ["x"])
    ours = rocketmq_secured_server.url(user="admin") + TLS
    port = rocketmq_secured_server.name_ports[0]
    elsewhere = ours.replace(f"name_servers=127.0.0.1:{port}", f"name_servers=127.1:{port}")  # the same by another name
    stranger = ours.replace(str(rocketmq_secured_server.secrets.ca), str(other.ca)).replace("rocketmqs:", "rocketmq:")
    assert ours not in (elsewhere, stranger)
    for act in (open_place, lambda url: inspect(parse(url, topic_needed=False))):
        with pytest.raises(Denied, match=r"certificate is not accepted.*127\.1"):
            await act(elsewhere)
    proxy, admin, _ = parts(parse(stranger, topic_needed=False))
    with pytest.raises(Denied, match="certificate is not accepted"):
        await admin.masters()
    await admin.close()
    await proxy.close()


async def test_broker_is_not_asked_in_clear_where_its_name_server_is_asked_by_tls(
    rocketmq_secured_server: RocketMQSecured,
) -> None:
    proxy, admin, _ = parts(parse(rocketmq_secured_server.url(user="admin") + TLS, topic_needed=False))
    for server in [*(await admin.masters()).values(), *admin._names]:
        assert server._connection is None or server._connection._writer.get_extra_info("cipher")
        try:
            await server.ask(28, {}, "say anything")
        except EvermqError:
            pass  # a name server has no such request; it is connected all the same
        assert server._connection
        assert server._connection._writer.get_extra_info("cipher")
    await admin.close()
    await proxy.close()
