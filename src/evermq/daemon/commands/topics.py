"""evermq topics: what is there, and making it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
import typer.core

from evermq.daemon.children import Children
from evermq.daemon.running import config_path, is_terminal, run, say, show
from evermq.daemon.starts import start_of
from evermq.errors import EvermqError, Misconfigured, NoSuchTopic, Unsupported
from evermq.port import Place, TopicState
from evermq.redaction import redacted
from evermq.topics import check_group

if TYPE_CHECKING:
    from evermq.compose.config import TopicConfig

__all__ = ["app"]


class _ListByDefault(typer.core.TyperGroup):
    """`evermq topics log:///dir` lists."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args != ["--help"]:
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    help="List the topics of a place, describe or create one.", cls=_ListByDefault, pretty_exceptions_enable=False
)


@app.command("list")
def list_(
    target: Annotated[
        str, typer.Argument(help="A place: a queue URL without its topic (log:///dir). Or a topic of --config.")
    ],
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    config: Annotated[Path | None, typer.Option(help="The configuration file.")] = None,
) -> None:
    """List the topics of a place with their lanes and groups; of a topic of --config, what each of its queues has."""
    json = json or not is_terminal()
    run(_list(target, json) if "://" in target else _list_queues(target, config_path(config), json))


async def _list(place_url: str, json: bool) -> int:
    from evermq.adapters.open import open_place

    place = await open_place(place_url, existing=True)
    try:
        for name in await place.topics():
            _show_topic(name, await place.describe(name), "", json)
    finally:
        await place.close()
    return 0


@app.command("describe")
def describe(
    target: Annotated[str, typer.Argument(help="A queue URL, or a topic of --config.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    config: Annotated[Path | None, typer.Option(help="The configuration file.")] = None,
) -> None:
    """Show a topic's lanes, groups, and how its engine keeps it: replicas, retention, limits."""
    run(_describe(target, json or not is_terminal(), config_path(config)))


async def _describe(target: str, json: bool, config: Path | None) -> int:
    from evermq.adapters.address import parse
    from evermq.compose.build import urls_of

    urls = [target] if "://" in target else urls_of(_configured(target, config).root)
    children = Children(urls)
    for url in urls:
        with children.asking():
            address = parse(url)
            place = await _opened(url)
            try:
                state = await place.describe(address.topic)
            finally:
                await place.close()
            lines = [msgspec.json.encode(_content(str(address), address.topic, state)).decode()]
            for line in lines if json else _lines(str(address), state):
                show(line)
    return children.status


def _content(url: str, topic: str, state: TopicState) -> dict[str, object]:
    groups = {
        name: {"backlog": group.backlog, "oldest_s": None if group.oldest_ms is None else group.oldest_ms / 1000}
        for name, group in sorted(state.groups.items())
    }
    counts = {"lanes": state.lanes, "appended": state.appended}
    return {"url": url, "topic": topic, **counts, "groups": groups, "settings": dict(state.settings)}


def _lines(url: str, state: TopicState) -> Iterator[str]:
    appended = "" if state.appended is None else f"  {state.appended} messages ever"
    yield f"{url}  {state.lanes} lanes{appended}"
    for name, group in sorted(state.groups.items()):
        age = "" if group.oldest_ms is None else f", oldest {group.oldest_ms / 1000:.1f} s"
        yield f"  group {name}  {group.backlog} messages{age}"
    width = max(map(len, state.settings), default=0)
    for name, value in state.settings.items():
        yield f"  {name:{width}}  {value}"


async def _list_queues(target: str, config: Path | None, json: bool) -> int:
    from evermq.adapters.address import parse
    from evermq.adapters.open import open_place
    from evermq.compose.build import place_of, urls_of

    urls = urls_of(_configured(target, config).root)
    children = Children(urls)
    for url in urls:
        with children.asking():
            address = parse(url)
            place = await open_place(place_of(url), existing=True)
            try:
                _show_topic(address.topic, await place.describe(address.topic), str(address), json)
            finally:
                await place.close()
    return children.status


def _show_topic(name: str, state: TopicState, url: str, json: bool) -> None:
    groups = sorted(state.groups)
    if json:
        content = {"topic": name, "lanes": state.lanes, "groups": groups} | ({"url": url} if url else {})
        show(msgspec.json.encode(content).decode())
    else:
        show(f"{url or name}  {state.lanes} lanes  groups: {', '.join(groups) or 'none'}")


def _configured(target: str, config: Path | None) -> TopicConfig:
    from evermq.compose.build import find

    if "/" in target:
        raise Misconfigured(f"{redacted(target)!r} is neither a URL (log:///dir/topic) nor the name of a topic")
    return find(target, config)


@app.command("create")
def create(
    target: Annotated[str, typer.Argument(help="A queue URL, or a topic of --config.")],
    groups: Annotated[str, typer.Option(help="Groups to make, separated by commas.")] = "",
    lanes: Annotated[int | None, typer.Option(min=1, help="Lanes of a topic that is made.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object for each queue.")] = False,
    config: Annotated[Path | None, typer.Option(help="The configuration file.")] = None,
) -> None:
    """Make what is missing on every child, keep what exists, and say where it differs."""
    named = tuple(check_group(group.strip()) for group in groups.split(",") if group.strip())
    run(_create(target, named, lanes, config_path(config), json))


async def _create(target: str, groups: tuple[str, ...], lanes: int | None, config: Path | None, json: bool) -> int:
    from evermq.adapters.address import parse
    from evermq.compose.build import create as create_all
    from evermq.compose.build import groups_of

    queues = [(target, groups)]
    if "://" not in target:
        topic = _configured(target, config)
        queues, lanes = groups_of(topic.root, groups or topic.groups), lanes or topic.lanes
    children = Children([url for url, _ in queues])
    for url, readers in queues:
        with children.asking():
            differs = await create_all([url], readers, lanes)
            if json:
                address = parse(url)
                content = {"topic": address.topic, "groups": readers, "url": str(address), "differs": differs}
                show(msgspec.json.encode(content).decode())
                continue
            for difference in differs:
                say(difference)
    return children.status


@app.command("lanes")
def lanes(
    url: Annotated[str, typer.Argument(help="The queue URL of a topic that exists.")],
    count: Annotated[int, typer.Argument(min=1, help="How many it is to have.")],
) -> None:
    """Give a topic another number of lanes, where the engine can; what is in the old ones is read first."""
    run(_control(url, "change_lanes", count))


@app.command("reset")
def reset(
    url: Annotated[str, typer.Argument(help="The queue URL of a topic that exists.")],
    group: Annotated[str, typer.Option(help="The group to move.")],
    to: Annotated[str, typer.Option(help="oldest, newest, an offset, or an ISO time.")],
) -> None:
    """Move a group within what is kept, where the engine can."""
    run(_control(url, "reset", check_group(group), start_of(to, "--to")))


@app.command("drop-group")
def drop_group(
    target: Annotated[str, typer.Argument(help="The queue URL of a topic that exists, or a topic of --config.")],
    group: Annotated[str, typer.Option(help="The group that nobody reads any more.")],
    config: Annotated[Path | None, typer.Option(help="The configuration file.")] = None,
) -> None:
    """Take a group away for good, where the engine can; nothing is kept for it from then on.

    Of a topic of --config it is taken from all queues, and from its progress: else a group of that name that is made
    later would be taken to have settled what this one has."""
    check_group(group)
    run(_control(target, "drop_group", group) if "://" in target else _drop_group(target, group, config_path(config)))


async def _drop_group(topic: str, group: str, config: Path | None) -> int:
    from evermq.adapters.address import parse
    from evermq.compose.build import urls_of
    from evermq.compose.ordering import open_progress

    found = _configured(topic, config)
    urls, failed = urls_of(found.root), list[EvermqError]()
    for url in urls:
        try:
            await _control(url, "drop_group", group)
        except (NoSuchTopic, Unsupported) as error:
            say(f"{parse(url)}: {error}")
            failed.append(error)
    if found.order:
        progress = open_progress(found.order.progress, topic)
        try:
            await progress.drop(group)
        finally:
            await progress.close()
    if len(failed) == len(urls):
        raise failed[-1]
    return 0


async def _control(url: str, act: str, *arguments: object) -> int:
    """Something that not every engine can do to a topic."""
    from evermq.adapters.address import parse

    address = parse(url)
    place = await _opened(url)
    try:
        can = getattr(place, act, None)
        if can is None:
            raise Unsupported(f"{address}: its engine has no {act.replace('_', ' ')}")
        await can(address.topic, *arguments)
    finally:
        await place.close()
    return 0


async def _opened(url: str) -> Place:
    """The place of a queue URL, which has to be there."""
    from evermq.adapters.address import parse
    from evermq.adapters.open import open_place

    address = parse(url)
    options = [part for part in url.partition("?")[2].split("&") if part and not part.startswith("lanes=")]
    query = f"?{'&'.join(options)}" if options else ""
    return await open_place(f"{address.scheme}://{address.place}{query}", existing=True)
