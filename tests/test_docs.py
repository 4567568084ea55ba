"""What the documents name exists: files, commands, worlds, configuration; and the code in the guides runs."""

import ast
import asyncio
import inspect
import re
import shlex
import shutil
import types
from functools import cache
from pathlib import Path

import pytest
import typer

from evermq.compose.config import parse
from evermq.daemon.cli import app
from evermq.testing.world import worlds

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
GUIDES = sorted((ROOT / "docs" / "guide").glob("*.md"))
SCRATCH = Path("/tmp/evermq-guide")
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    .*$", re.MULTILINE)
INLINE = re.compile(r"`(evermq [^`]+)`")
WORLD = re.compile(r"(?:--world |`)((?:log|composite|order)-[a-z-]+)\b(?!\.)")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path, language: str) -> list[str]:
    return [code for written, code in FENCED.findall(path.read_text(encoding="utf-8")) if written == language]


def command_lines(path: Path) -> list[str]:
    """Every line of a code block, and every piece of code in the text, that runs evermq."""
    text = path.read_text(encoding="utf-8")
    shown = [*blocks(path, "sh"), *blocks(path, ""), *INDENTED.findall(FENCED.sub("", text)), *INLINE.findall(text)]
    lines = [line for code in shown for line in code.splitlines()]
    parts = [part.strip().removeprefix("$ ") for line in lines for part in line.split("|")]
    return [part for part in parts if part.startswith("evermq ")]


@cache
def commands() -> dict[str, set[str]]:
    """The commands with the commands below them."""
    top = typer.main.get_command(app)
    return {key: set(getattr(each, "commands", {})) for key, each in top.commands.items()}  # type: ignore[attr-defined]


def test_documents_are_found() -> None:
    assert {"README.md", "README.zh.md", "docs/start.md", "docs/guide/log.md"} <= {name(path) for path in DOCUMENTS}
    assert sum(len(command_lines(path)) for path in DOCUMENTS) > 40


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_relative_link_leads_to_a_file(path: Path) -> None:
    links = [link.partition("#")[0] for link in LINK.findall(path.read_text(encoding="utf-8")) if "://" not in link]
    assert not [link for link in links if link and not (path.parent / link).exists()]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_command_that_a_document_shows_exists(path: Path) -> None:
    for line in command_lines(path):
        words = [word for word in shlex.split(line, comments=True)[1:] if not word.startswith("--")]
        if not words:
            continue  # `evermq --version` and its like
        assert words[0] in commands(), line
        below = commands()[words[0]]
        if below and len(words) > 1 and re.fullmatch(r"[a-z]+", words[1]):
            assert words[1] in below, line


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_world_that_a_document_names_exists(path: Path) -> None:
    known = worlds()
    assert not [each for each in WORLD.findall(path.read_text(encoding="utf-8")) if each not in known]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_configuration_that_a_document_shows_is_accepted(path: Path) -> None:
    for text in blocks(path, "toml"):
        assert parse(text, name(path)), text


def test_start_lists_every_guide() -> None:
    start = (ROOT / "docs" / "start.md").read_text(encoding="utf-8")
    assert not [path.name for path in GUIDES if f"(guide/{path.name})" not in start]


def test_code_in_the_guides_runs(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(SCRATCH, ignore_errors=True)
    run = [path.stem for path in GUIDES for code in blocks(path, "python") if str(SCRATCH) in code and play(path, code)]
    assert set(run) == {"buffered", "client", "failover", "pump", "route", "spooled"}
    assert "a book" in capsys.readouterr().out


def play(path: Path, code: str) -> bool:
    """Run a block that may await at its top."""
    compiled = compile(code, name(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    made = types.FunctionType(compiled, {"__name__": path.stem})

    async def run() -> None:
        async with asyncio.timeout(30):
            await made()

    if compiled.co_flags & inspect.CO_COROUTINE:
        asyncio.run(run())
    else:
        made()
    return True
