"""Configuration that says nothing, or the wrong kind of thing: refused with the place, whatever Python makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from evermq.adapters.open import open_queue
from evermq.compose.config import load
from evermq.errors import Misconfigured

LOG = '"log:///tmp/none/orders"'


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('queue = ""', "URL of a queue is empty"),
        (f'use = "failover"\nprimary = ""\nstandby = {LOG}', "primary: the URL of a queue is empty"),
        (f'use = ["failover"]\nprimary = {LOG}', "use = "),
        ("use = {}", "use = "),
        (f'use = "route"\nchildren = {{"" = {LOG}}}', "is no name"),
        (f'use = "route"\nchildren = {{"a/b" = {LOG}}}', "is no name"),
        (
            f'use = "failover"\nprimary = {LOG}\nstandby = "log:///tmp/other/orders"\nswitch = ""',
            "switch must be a URL",
        ),
    ],
)
def test_table_that_cannot_be_meant_is_refused(table: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "evermq.toml"
    path.write_text(f"[topics.orders]\n{table}\n")
    with pytest.raises(Misconfigured, match=r"\[topics.orders\]") as refused:
        load(path)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (" log:///tmp/none/orders", "a blank stands"),
        ("redis://127.0.0.1:0/orders", "no host or host:port"),
        ("rediss://127.0.0.1:1/orders?ca=/no/such/file", "there is no such file"),
    ],
)
async def test_url_that_cannot_be_meant_is_refused(url: str, words: str) -> None:
    with pytest.raises(Misconfigured, match=words):
        await open_queue(url)
