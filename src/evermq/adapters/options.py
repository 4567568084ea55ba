"""What may stand behind `?` in the URL of an engine on the network: what is common to them, and how it is read."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

from evermq.adapters.secret import secret
from evermq.errors import Misconfigured
from evermq.traits import Durable

__all__ = ["Options", "durable_named"]

_YES = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_CLASSES = tuple(each.name.lower() for each in Durable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """require: refuse what keeps less than this class. username; password: a reference, env:NAME or file:PATH. ca,
    cert, key: PEM files. The rest is the engine's.

    LIMITS: least and most of each number, None for no limit. CHOICES: the texts that an option may be.
    """

    ENGINE: ClassVar[str]
    LIMITS: ClassVar[Mapping[str, tuple[int, int | None]]]
    CHOICES: ClassVar[Mapping[str, Sequence[str]]] = {}

    require: str = ""
    username: str = ""
    password: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Self:
        """From text. Raises Misconfigured."""
        kinds = {each.name: str(each.type) for each in fields(cls)}
        return cls(**{name: cls._value(name, kinds, text) for name, text in given.items()})

    @property
    def required(self) -> Durable:
        """The class that `require` names."""
        return durable_named(self.require) if self.require else Durable.MEMORY

    @property
    def user(self) -> str:
        """The name of the user, which may be a reference too. Raises Misconfigured."""
        return secret("username", self.username) if self.username.startswith(("env:", "file:")) else self.username

    @classmethod
    def _value(cls, name: str, kinds: Mapping[str, str], text: str) -> Any:
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(kinds))}"
            raise Misconfigured(f"option {name} of a {cls.ENGINE} URL: {hint}")
        if kinds[name].startswith("int"):
            return cls._number(name, text)
        if kinds[name] == "bool":
            return _YES[_chosen(name, text.lower(), _YES, "yes or no")]
        choices = _CLASSES if name == "require" else cls.CHOICES.get(name)
        return _chosen(name, text.lower(), choices, f"one of {', '.join(choices)}") if choices else text

    @classmethod
    def _number(cls, name: str, text: str) -> int:
        least, most = cls.LIMITS[name]
        if not text.isascii() or not text.isdigit() or int(text) < least or (most is not None and int(text) > most):
            limit = f"from {least} on" if most is None else f"from {least} to {most}"
            raise Misconfigured(f"{name} = {text!r}: give a whole number {limit}")
        return int(text)


def durable_named(text: str) -> Durable:
    """The class that `require` names. Raises Misconfigured."""
    return Durable[_chosen("require", text.lower(), _CLASSES, f"one of {', '.join(_CLASSES)}").upper()]


def _chosen(name: str, text: str, among: Any, say: str) -> str:
    if text not in among:
        raise Misconfigured(f"{name} = {text!r}: give {say}")
    return text
