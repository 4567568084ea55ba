"""Stored runs in the documentation: each stands between two marks that name it, and is written there by the run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from rig.report import as_markdown

__all__ = ["ROOT", "block", "refresh", "shown"]

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"(<!-- run: (\S+) -->\n)(.*?)(<!-- end of the run -->)", re.DOTALL)


def shown(document: Path) -> Iterator[tuple[str, str]]:
    """The stored runs that a document shows: the name of the file, and what stands there of it."""
    for _, name, text, _ in _BLOCK.findall(document.read_text(encoding="utf-8")):
        yield name, text


def block(stored: Path) -> str:
    """What stands between the marks."""
    return f"\n{as_markdown(json.loads(stored.read_text(encoding='utf-8')))}\n\n"


def refresh(stored: Path, root: Path = ROOT) -> list[Path]:
    """Write a stored run into every document that shows it; returns those documents."""
    if not stored.resolve().is_relative_to(root):
        return []
    name = str(stored.resolve().relative_to(root))
    changed = []
    for document in sorted((root / "docs").rglob("*.md")):
        text = document.read_text(encoding="utf-8")
        if f"<!-- run: {name} -->" in text:
            document.write_text(_BLOCK.sub(lambda found: _replaced(found, name, stored), text), encoding="utf-8")
            changed.append(document)
    return changed


def _replaced(found: re.Match[str], name: str, stored: Path) -> str:
    begin, named, _, end = found.groups()
    return f"{begin}{block(stored)}{end}" if named == name else found[0]
