"""`order`, `dedupe` and `progress` of a topic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermq.adapters.address import parse
from evermq.errors import Misconfigured
from evermq.ha.failover import Failover
from evermq.ha.retained import Retained
from evermq.ha.switch import Switch
from evermq.policy.deduped import Deduped
from evermq.policy.ordered import Ordered
from evermq.port import Queue
from evermq.redaction import redacted
from evermq.settling import Bounded
from evermq.slot import Slots

if TYPE_CHECKING:
    from evermq.progress.sql import SqlProgress

__all__ = ["OF_ORDER", "OrderConfig", "open_progress", "ordered", "read_order"]

OF_ORDER = ("order", "dedupe", "progress", "hold_ms_max", "retained_bytes_max")
_OPTIONS = ("progress", "hold_ms_max", "retained_bytes_max")
_RETAINED_BYTES_MAX = 1 << 30
_RETAINED_BYTES_LEAST = 4 << 20
_FILE = "evermq-progress.sqlite"


@dataclass(frozen=True, slots=True)
class OrderConfig:
    """has_order: per key, else only doubles are dropped. progress: a URL. hold_ms_max: see Ordered. retained_bytes_max:
    how much each process keeps on its host of what each lower rung alone has acknowledged; 0 for nothing."""

    has_order: bool
    progress: str
    hold_ms_max: int | None = None
    retained_bytes_max: int = _RETAINED_BYTES_MAX


def read_order(table: Mapping[str, Any], use: str, children: Sequence[str], at: str) -> OrderConfig | None:
    """From the keys of a topic. Raises Misconfigured, naming the key and the way out."""
    for key, value in (("order", "key"), ("dedupe", "producer")):
        if table.get(key, value) != value:
            raise Misconfigured(f'{at}: {key} = {table[key]!r}: the one value there is is "{value}"; or leave it out')
    asked = [key for key in ("order", "dedupe") if key in table]
    if not asked:
        if lonely := [key for key in _OPTIONS if key in table]:
            raise Misconfigured(f'{at}: {lonely[0]} goes with order = "key" or dedupe = "producer"')
        return None
    if use != "failover" or "last" not in children:
        raise Misconfigured(
            f'{at}: {asked[0]} needs use = "failover" with last = "log:///directory/topic": no number may be left out, '
            "so the last rung must take what the others do not"
        )
    progress = _progress(table.get("progress"), asked[0], at)
    return OrderConfig("order" in table, progress, _hold(table, at), _retained(table, at))


def _progress(url: object, asked: str, at: str) -> str:
    if not isinstance(url, str) or "://" not in url:
        raise Misconfigured(
            f"{at}: {asked} needs progress, where readers note what is done: "
            'progress = "postgresql://user@host/database", or "log:///directory" where all readers are on one host'
        )
    return url


def _hold(table: Mapping[str, Any], at: str) -> int | None:
    hold_ms_max = table.get("hold_ms_max")
    if hold_ms_max is not None and (type(hold_ms_max) is not int or hold_ms_max < 1):
        raise Misconfigured(f"{at}: hold_ms_max must be a whole number from 1 on; leave it out to wait without end")
    return hold_ms_max


def _retained(table: Mapping[str, Any], at: str) -> int:
    bytes_max = table.get("retained_bytes_max", _RETAINED_BYTES_MAX)
    if type(bytes_max) is not int or 0 < bytes_max < _RETAINED_BYTES_LEAST or bytes_max < 0:
        raise Misconfigured(f"{at}: retained_bytes_max must be a whole number from {_RETAINED_BYTES_LEAST} on, or 0")
    return bytes_max


def ordered(
    queue: Queue, topic: str, config: OrderConfig, *, groups: Sequence[str], copies_of: Callable[[str], Slots]
) -> Ordered:
    """The queue, with what is promised of it. copies_of: where copies of what a rung acknowledged are kept.

    Raises Misconfigured."""
    if not isinstance(queue, Failover):
        raise Misconfigured(f"topic {topic}: order and dedupe need a failover")
    host = queue.host
    if host is None:
        raise Misconfigured(f"topic {topic}: order and dedupe need last = a log:// URL of this host")
    kind = Ordered if config.has_order else Deduped
    queue.keeps_order = config.has_order
    progress = open_progress(config.progress, topic)
    if groups and config.retained_bytes_max:
        for key, rung in [*queue.rungs.items()][1:]:
            if not isinstance(rung, Bounded):
                continue  # nobody could tell what it has lost
            copies = Retained(rung, copies_of(key), progress=progress, groups=groups, send=queue.append)
            queue.retain(key, copies)
    switch = queue.choice if isinstance(queue.choice, Switch) else None
    made = kind(
        queue,
        progress=progress,
        slot=host.slot,
        rungs=queue.rungs,
        hold_ms_max=config.hold_ms_max,
        shuns=switch.shuns if switch else tuple,
    )
    if switch:
        switch.figures = lambda: made.figures() | _of_copies(queue.retained.values()) | {"buried": host.dead_count}
    return made


def _of_copies(retained: Iterable[Retained]) -> dict[str, int]:
    counts = [each.counts for each in retained]
    return {
        "copied": sum(each.kept for each in counts),
        "uncopied": sum(each.unkept for each in counts),
        "replayed": sum(each.replayed for each in counts),
    }


def open_progress(url: str, topic: str) -> SqlProgress:
    """Where progress is kept. A `log:` URL names a directory that the readers of one host share."""
    try:
        from evermq.progress.sql import SqlProgress
    except ImportError as error:
        raise Misconfigured(f"progress = {redacted(url)!r} needs SQLAlchemy: pip install 'evermq[sql]'") from error
    if url.startswith("log:"):
        directory = Path(parse(url if url.count("/") > 3 else f"{url}/").place)
        directory.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{directory / _FILE}"
    return SqlProgress(url, topic)
