"""evermq backlog: how much each group has still to settle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from evermq.daemon.children import Children
from evermq.daemon.running import config_path, is_terminal, run, show
from evermq.errors import Misconfigured
from evermq.port import TopicState

__all__ = ["backlog"]


def backlog(
    target: Annotated[str, typer.Argument(help="A queue URL, or a topic of --config.")],
    group: Annotated[str | None, typer.Option(help="Only this group.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    config: Annotated[Path | None, typer.Option(help="The configuration file.")] = None,
) -> None:
    """Show the backlog of every group: messages, unacknowledged and delayed included, and the age of the oldest."""
    run(_backlog(target, group, json or not is_terminal(), config_path(config)))


async def _backlog(target: str, only: str | None, json: bool, config: Path | None) -> int:
    from evermq.adapters.address import parse
    from evermq.adapters.open import open_place
    from evermq.compose.build import find, place_of, urls_of
    from evermq.compose.config import Child
    from evermq.compose.host import host_rung, hosts_of

    root = Child(url=target) if "://" in target else find(target, config).root
    urls, hosts = urls_of(root), hosts_of(root)
    total: dict[str, list[float | None]] = {}
    topic = target
    children = Children(urls)
    for url in urls:
        address = parse(url)
        topic = address.topic
        with children.asking():
            place = await open_place(place_of(url), existing=True)
            try:
                _add(total, await place.describe(address.topic))
            finally:
                await place.close()
    if only and only not in total and not children.status:
        raise Misconfigured(f"--group {only}: {topic} has {', '.join(sorted(total)) or 'no groups'}")
    waiting = sum([await host_rung(url).backlog("") for url in hosts])
    for name, (count, oldest_s) in sorted((name, each) for name, each in total.items() if only in (None, name)):
        count = (count or 0) + waiting
        if json:
            content = {"topic": topic, "group": name, "backlog": count, "oldest_s": oldest_s}
            show(msgspec.json.encode(content).decode())
        else:
            show(f"{topic}  {name}  {count} messages" + (f", oldest {oldest_s:.1f} s" if oldest_s else ""))
    return children.status


def _add(total: dict[str, list[float | None]], state: TopicState) -> None:
    """Of each group, what one queue has."""
    for name, group in state.groups.items():
        counted = total.setdefault(name, [0, None])
        counted[0] = (counted[0] or 0) + group.backlog
        ages = [age for age in (counted[1], group.oldest_ms and group.oldest_ms / 1000) if age is not None]
        counted[1] = max(ages, default=None)
