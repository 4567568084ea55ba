"""Secrets come by reference, and no error shows one."""

from pathlib import Path

import pytest

from evermq.adapters.secret import secret
from evermq.errors import Misconfigured


def test_secret_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "canary")
    assert secret("password", "env:SHOP_PASSWORD") == "canary"


def test_secret_comes_from_a_file_without_its_last_line_end(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("canary\n")
    path.chmod(0o600)
    assert secret("password", f"file:{path}") == "canary"


def test_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("canary")
    path.chmod(0o644)
    with pytest.raises(Misconfigured, match="chmod 600") as caught:
        secret("password", f"file:{path}")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("given", ["canary", "env:", "env:EVERMQ_NO_SUCH_VARIABLE", "file:/no/such/file", ""])
def test_what_is_no_reference_is_refused_and_not_shown(given: str) -> None:
    with pytest.raises(Misconfigured, match="password") as caught:
        secret("password", given)
    assert "canary" not in str(caught.value)


def test_secret_that_is_not_utf_8_is_refused_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "password"
    path.write_bytes(b"canary\xff")
    path.chmod(0o600)
    monkeypatch.setenv("SHOP_PASSWORD", "canary\udcff")
    for reference in (f"file:{path}", "env:SHOP_PASSWORD"):
        with pytest.raises(Misconfigured, match="not UTF-8") as caught:
            secret("password", reference)
        assert "canary" not in repr(caught.value) + repr(caught.value.__context__)


def test_path_that_is_none_is_refused() -> None:
    with pytest.raises(Misconfigured, match="no path"):
        secret("password", "file:a\0b")
