"""Engines of a drill as a fixture."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from evermq.drills.engines.engine import Missing
from evermq.drills.faults.rows import Engines
from evermq.drills.setting import running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engines(request: pytest.FixtureRequest) -> AsyncIterator[Engines]:
    """Those of the parameter, as `--engines` takes them: started once for all cases that come one after the other. What
    is not installed here is a reason to skip; where all of it has to be, it is a failure."""
    async with AsyncExitStack() as stack:
        try:
            found = await stack.enter_async_context(running(request.param))
        except Missing as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(str(error))
        yield found
