"""What of a URL may stand in errors and logs."""

from __future__ import annotations

import re

__all__ = ["redacted"]

# User info may hold anything, even what would end it; so whatever stands before the last @ is taken for it.
_USER_INFO = re.compile(r"^([\w+.-]*://)?.*@", re.DOTALL)
_OPTIONS = re.compile(r"[?#].*", re.DOTALL)


def redacted(url: str) -> str:
    """The URL without user and password and without its options, however wrong it is."""
    return _OPTIONS.sub("?…", _USER_INFO.sub(r"\1…@", url))
