"""What the shell offers while a command is typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from evermq.daemon.cli import app
from evermq.testing.world import worlds

CONFIG = """
[topics.orders]
queue = "memory://shop/orders"

[topics.payments]
queue = "memory://shop/payments"
"""


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVERMQ_CONFIG", raising=False)
    return tmp_path


def offered(*typed: str, incomplete: str = "") -> list[str]:
    """What bash is told."""
    words = ["evermq", *typed, incomplete]
    asked = {"_EVERMQ_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    ran = CliRunner().invoke(app, [], prog_name="evermq", env=asked)
    assert ran.exit_code == 0
    return ran.stdout.split()


def test_worlds_are_offered() -> None:
    assert set(offered("simulate", "--world")) == worlds().keys()
    assert offered("simulate", "--world", incomplete="order-four-re") == ["order-four-retained"]


@pytest.mark.parametrize("command", ["send", "read"])
def test_topics_of_the_configuration_are_offered(
    command: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = directory / "other.toml"
    other.write_text(CONFIG)
    assert offered(command) == []
    assert offered(command, "--config", str(other)) == ["orders", "payments"]
    monkeypatch.setenv("EVERMQ_CONFIG", str(other))
    assert offered(command, incomplete="pay") == ["payments"]
    (directory / "evermq.toml").write_text(CONFIG.replace("payments", "returns"))
    assert offered(command) == ["orders", "returns"]
    assert offered(command, incomplete="log://") == []


def test_configuration_that_is_none_offers_nothing(directory: Path) -> None:
    (directory / "evermq.toml").write_bytes(b"\xff[topics")
    assert offered("send") == []
