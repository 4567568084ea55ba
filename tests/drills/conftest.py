"""Engines of a drill as a fixture."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from tests.needed import needed

from evermq.drills.faults.rows import Engines
from evermq.drills.setting import running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engines(request: pytest.FixtureRequest) -> AsyncIterator[Engines]:
    """Those of the parameter, as `--engines` takes them: started once for all cases that come one after the other."""
    async with AsyncExitStack() as stack:
        with needed():
            found = await stack.enter_async_context(running(request.param))
        yield found
