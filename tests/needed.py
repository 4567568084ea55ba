"""What tests need and may not find."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from evermq.drills.engines.engine import Missing

__all__ = ["needed"]


@contextmanager
def needed() -> Iterator[None]:
    """What is not installed here is a reason to skip; in CI, where all of it has to be, it is a failure."""
    try:
        yield
    except Missing as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
