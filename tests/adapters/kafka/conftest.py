"""Memberships over consumers that are played."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.adapters.kafka.played import Consumer

from evermq.adapters.kafka import membership as module


@pytest.fixture
def consumers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """None is asked anything once it is closed, and no thread is left."""
    made: list[Consumer] = []

    def consumer(settings: dict[str, Any]) -> Consumer:
        made.append(Consumer(settings))
        return made[-1]

    monkeypatch.setattr(module, "Consumer", consumer)
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive(), thread
    assert [(each.is_closed, each.late) for each in made] == [(True, [])] * len(made)
