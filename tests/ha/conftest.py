"""The disk of a machine that runs tests may be as slow as it likes."""

import pytest

from evermq.ha import retained


@pytest.fixture(autouse=True)
def disk_may_be_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a test is of a disk that hangs, it says so."""
    monkeypatch.setattr(retained, "_KEEP_S", 60)
