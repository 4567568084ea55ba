"""What a watcher sees, as metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from evermq.adapters.address import ENGINES
from evermq.daemon.watching import RungSeen, TopicSeen

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["Exposition", "serve_metrics"]

_STATES = ("normal", "degraded", "returning")
_SUMS = {
    "held": "Messages that had to wait for another one.",
    "doubles": "Copies of messages that were set aside.",
    "voids": "Numbers read that no message has.",
    "flagged": "Messages handed out although something before them is missing.",
    "foreign": "Messages read that have no number.",
    "returned": "Lanes given to another reader that asked for them.",
    "voids_sent": "Numbers given that no message will have.",
    "repeated": "Messages sent again under the number they had.",
    "copied": "Messages of which a copy is kept, since only a lower rung had them.",
    "uncopied": "Messages that a lower rung alone had and that no copy was kept of.",
    "replayed": "Messages sent again since a lower rung had lost them.",
    "buried": "Messages of the host's own rung that all others refused: they are among the dead letters.",
}
_VERDICTS = ("PASS", "FAIL", "INVALID")


class Exposition:
    """A collector of prometheus-client; `seen` is what it shows, the newest look."""

    def __init__(self) -> None:
        self.seen: TopicSeen | None = None

    def collect(self) -> Iterator[Metric]:
        """Called at each scrape."""
        if self.seen:
            yield from _rungs(self.seen)
            yield from _switch(self.seen)
            yield from _order(self.seen)
            yield from _drill(self.seen)


def serve_metrics(exposition: Exposition, port: int, address: str = "127.0.0.1") -> None:
    """Serve them, from a thread, at /metrics. Raises OSError where the port is taken."""
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry(auto_describe=False)
    registry.register(exposition)
    start_http_server(port, addr=address, registry=registry)


def _rungs(seen: TopicSeen) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    labels = ["topic", "rung", "engine"]
    up = GaugeMetricFamily("evermq_rung_up", "Whether a rung answers.", labels=labels)
    appended = CounterMetricFamily("evermq_messages_appended", "Messages that a rung ever got.", labels=labels)
    lag = GaugeMetricFamily("evermq_consumer_lag_messages", "Messages still to settle.", labels=[*labels, "group"])
    age = GaugeMetricFamily("evermq_consumer_lag_seconds", "Age of the oldest of them.", labels=[*labels, "group"])
    dead = CounterMetricFamily("evermq_dead_letters", "Messages of a host that all its rungs refused.", labels=labels)
    for rung in seen.rungs:
        mine = [seen.topic, rung.rung, _engine(rung)]
        if rung.dead is not None:
            dead.add_metric(mine, rung.dead)
        up.add_metric(mine, float(rung.reachable))
        if rung.appended is not None:
            appended.add_metric(mine, rung.appended)
        for group, left in rung.backlog.items():
            lag.add_metric([*mine, group], left)
            if (oldest_s := rung.oldest_s.get(group)) is not None or not left:  # else nobody knows it, and 0 is a lie
                age.add_metric([*mine, group], oldest_s or 0.0)
    yield from (up, appended, lag, age, dead)


def _switch(seen: TopicSeen) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    if seen.switch is None:
        return
    state = GaugeMetricFamily("evermq_switch_state", "1 for the state in force.", labels=["topic", "rung", "state"])
    for rung, current in seen.switch.rungs.items():
        for each in _STATES:
            state.add_metric([seen.topic, rung, each], float(each == current))
    yield state
    lanes = GaugeMetricFamily("evermq_lane_diverted_processes", "Processes that divert it.", labels=["topic", "lane"])
    for lane, count in seen.switch.lanes.items():
        lanes.add_metric([seen.topic, lane], count)
    yield lanes
    failing = GaugeMetricFamily("evermq_rung_failing_processes", "Processes it fails for.", labels=["topic", "rung"])
    for rung in seen.switch.rungs:
        failing.add_metric([seen.topic, rung], len(seen.switch.failing.get(rung, ())))
    yield failing
    yield _gauge("evermq_switch_epoch", "How often the agreement has changed.", seen.topic, seen.switch.epoch)
    yield _gauge("evermq_switch_up", "Whether the coordinator answers.", seen.topic, seen.switch.reachable)
    yield _gauge("evermq_switch_pinned", "Whether a rung is chosen by hand.", seen.topic, bool(seen.switch.pin))
    if seen.switch.processes is not None:
        yield _gauge("evermq_switch_processes", "Processes that vote.", seen.topic, seen.switch.processes)


def _order(seen: TopicSeen) -> Iterator[Metric]:
    """What order and dedupe do, by process."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    members = seen.switch.members if seen.switch else {}
    labels = ["topic", "host", "process"]
    for name, about in _SUMS.items():
        counter = CounterMetricFamily(f"evermq_order_{name}", about, labels=labels)
        for process, member in members.items():
            if name in member.figures:
                counter.add_metric([seen.topic, member.host, process], member.figures[name])
        yield counter
    held = GaugeMetricFamily("evermq_order_holding_messages", "Messages that wait for another one.", labels=labels)
    age = GaugeMetricFamily("evermq_order_holding_seconds", "How long the oldest of them has.", labels=labels)
    for process, member in members.items():
        if member.figures:
            held.add_metric([seen.topic, member.host, process], member.figures.get("holding", 0))
            age.add_metric([seen.topic, member.host, process], member.figures.get("hold_ms", 0) / 1000)
    yield from (held, age)


def _drill(seen: TopicSeen) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    if seen.drill is None:
        return
    verdict = GaugeMetricFamily("evermq_drill_verdict", "1 for that of the last drill.", labels=["drill", "verdict"])
    for each in _VERDICTS:
        verdict.add_metric([seen.drill["drill"], each], float(each == seen.drill["verdict"]))
    yield verdict


def _gauge(name: str, about: str, topic: str, value: float) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    gauge = GaugeMetricFamily(name, about, labels=["topic"])
    gauge.add_metric([topic], float(value))
    return gauge


def _engine(rung: RungSeen) -> str:
    return ENGINES[rung.url.partition(":")[0]]
