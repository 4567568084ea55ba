"""Passwords and keys by reference: env:NAME or file:PATH, never as they are, so that no URL or log holds one."""

from __future__ import annotations

import os
from pathlib import Path

from evermq.errors import Misconfigured

__all__ = ["secret"]


def secret(option: str, reference: str) -> str:
    """What a reference stands for. option: its name, for errors; the value itself is in none of them.

    Raises Misconfigured where the option is no reference, the variable or file is missing, or others may read the file.
    """
    kind, _, name = reference.partition(":")
    if kind == "env" and name:
        found = os.environ.get(name)
        if found is None:
            raise Misconfigured(f"{option} = env:{name}: there is no such environment variable")
        return _text(found, f"{option} = {reference}")
    if kind == "file" and name:
        return _read(option, Path(name))
    raise Misconfigured(f"{option}: give env:NAME or file:PATH, not the secret itself")


def _read(option: str, path: Path) -> str:
    try:
        if path.stat().st_mode & 0o077:
            raise Misconfigured(f"{option} = file:{path}: others may read it: chmod 600 {path}")
        found = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise Misconfigured(f"{option} = file:{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # of the path alone
        raise Misconfigured(f"{option} = file:{path!s:.200}: that is no path: {error}") from error
    return _text(found.rstrip("\n"), f"{option} = file:{path}")


def _text(found: str, said: str) -> str:
    """As it is, if it can be sent; not by encoding it, for the error of that would hold it."""
    if not found.isascii() and any("\ud800" <= each <= "\udfff" for each in found):
        raise Misconfigured(f"{said}: what stands there is not UTF-8")
    return found
