"""What tests of the adapters' tables of errors have in common: whatever a driver may raise or a server answer has a
class, and what matters has the right one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from types import ModuleType

import pytest

from evermq.errors import EvermqError

__all__ = ["cases", "check_complete", "exceptions_of"]


def exceptions_of(driver: ModuleType, root: type[Exception] = Exception) -> list[type[Exception]]:
    """The kinds of exceptions that a driver's module has."""
    return [each for each in vars(driver).values() if isinstance(each, type) and issubclass(each, root)]


def check_complete(there: Iterable[object], table: Collection[object]) -> None:
    """Nothing that is there is missing in the table."""
    new = [each for each in there if each not in table]
    assert not new, f"{new} are new: say in errors.py what they mean"


def cases(*expected: tuple[object, type[EvermqError]]) -> pytest.MarkDecorator:
    """A test is run with each `error`, and the class that is `expected` of it."""
    return pytest.mark.parametrize(("error", "expected"), expected, ids=repr)
