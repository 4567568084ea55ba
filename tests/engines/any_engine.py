"""The example for any engine, as its first lines say: the topic by the command, then the program, by the same URL."""

from __future__ import annotations

import asyncio
import sys

__all__ = ["BILLED", "billed"]

BILLED = ["a book for ann", "a chair for ann", "a lamp for ann"]

_WAIT_S = 90


async def billed(url: str) -> list[str]:
    """What the program says it has billed."""
    await _ran("-m", "evermq.daemon.cli", "topics", "create", url, "--groups", "billing")
    said = await _ran("examples/any_engine.py", url)
    return [line.removeprefix("billed: ") for line in said.splitlines() if line.startswith("billed: ")]


async def _ran(*arguments: str) -> str:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=pipe, stderr=pipe)
    said, wrong = await asyncio.wait_for(process.communicate(), _WAIT_S)
    assert process.returncode == 0, wrong.decode()
    return said.decode()
