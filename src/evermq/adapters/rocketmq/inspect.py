"""What a RocketMQ makes of evermq's promises, in its own words."""

from __future__ import annotations

from collections.abc import Mapping

from evermq.adapters.address import Address
from evermq.adapters.inspection import Finding, Inspection
from evermq.adapters.rocketmq.admin import Admin
from evermq.adapters.rocketmq.brokers import versions
from evermq.adapters.rocketmq.connect import greet, parts
from evermq.adapters.rocketmq.options import RocketOptions
from evermq.adapters.rocketmq.place import RocketPlace
from evermq.adapters.rocketmq.proxy import Proxy
from evermq.adapters.rocketmq.remoting import Distrusted
from evermq.adapters.rocketmq.topic import SETTINGS, durable_of, hazards, weaknesses
from evermq.errors import Denied, NoSuchTopic
from evermq.traits import Durable

__all__ = ["inspect"]

_PATIENCE_S = 86_400  # an outage of all senders that goes on for longer is somebody's business by then


async def inspect(address: Address) -> Inspection:
    """Of all brokers; the weakest one counts. Raises as `connect` does."""
    proxy, admin, options = parts(address)
    try:
        await greet(proxy)
        durable, findings = await _brokers(admin)
        findings += await _versions(admin)
        if address.topic:
            findings += await _topic(address, proxy, admin, options)
        return Inspection(durable, findings)
    finally:
        await proxy.close()
        await admin.close()


async def _brokers(admin: Admin) -> tuple[Durable, list[Finding]]:
    try:
        every = await admin.settings()
    except Distrusted:
        raise
    except Denied:
        advice = "allow it: what cannot be seen is taken for its worst"
        return Durable.MEMORY, [Finding("GET_BROKER_CONFIG", "denied", advice)]
    findings = []
    for broker, settings in every.items():
        weak = weaknesses(settings)
        shown = [name for name in SETTINGS if name in settings]
        findings += [Finding(f"{broker} {name}", settings[name], weak.get(name, "")) for name in shown]
        findings += [Finding(f"{broker} {n}", settings.get(n, "unknown"), way) for n, way in hazards(settings).items()]
        automatic = settings.get("autoCreateTopicEnable", "")
        advice = "false: else a topic that is misspelt is made" if automatic == "true" else ""
        findings.append(Finding(f"{broker} autoCreateTopicEnable", automatic, advice))
    return min(durable_of(each) for each in every.values()), findings


async def _versions(admin: Admin) -> list[Finding]:
    found = [Finding(f"{name} version", str(each), each.advice) for name, each in (await versions(admin)).items()]
    advice = (
        "allow GET_BROKER_RUNTIME_INFO: before 5.0 RocketMQ has not what is needed, and 5.3.2 and 5.3.3 lose topics"
    )
    return found or [Finding("version", "unknown", advice)]


async def _topic(address: Address, proxy: Proxy, admin: Admin, options: RocketOptions) -> list[Finding]:
    place = RocketPlace(proxy, admin, options, durable=Durable.MEMORY)
    try:
        found = await place.find(address.topic)
        groups = (await place.describe(address.topic)).groups
    except NoSuchTopic:
        return [Finding("topic", "missing", f"`evermq topics create {address} --groups a,b` makes it")]
    findings = [
        Finding("message.type", found.kind.upper()),
        Finding("queues", str(found.lanes)),
        Finding("groups", ", ".join(groups) or "none", "" if groups else "make one: `evermq topics create`"),
    ]
    if found.kind == "transaction":
        findings += [_patience(broker, settings) for broker, settings in (await admin.settings()).items()]
    return findings


def _patience(broker: str, settings: Mapping[str, str]) -> Finding:
    """How long a half message is asked after."""
    checks, every_ms = int(settings["transactionCheckMax"]), int(settings["transactionCheckInterval"])
    least_s = checks * every_ms // 1000
    advice = f"1000000: else a half message is given up when nobody answered for it for {least_s} s"
    return Finding(f"{broker} transactionCheckMax", str(checks), advice if least_s < _PATIENCE_S else "")
