"""A KeyboardInterrupt where CPython looks for signals: on entry of a function, and behind a call."""

from __future__ import annotations

import contextlib
import dis
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from evermq.adapters.log import commit, committer, turns

__all__ = ["interrupt_at"]

_CALLS = {dis.opmap[name] for name in ("CALL", "CALL_KW", "CALL_FUNCTION_EX") if name in dis.opmap}
_CODE = {module.__file__ for module in (commit, committer, turns)}


class _Interrupts:
    """Traces in this thread the functions by which the turn is taken and given; raises at the `at`-th place."""

    def __init__(self, at: int) -> None:
        self.left = at

    def enter(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in _CODE:
            return None
        frame.f_trace_opcodes = True
        is_place = True

        def step(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal is_place
            if event == "opcode":
                looks, is_place = is_place, frame.f_code.co_code[frame.f_lasti] in _CALLS
                self.left -= looks
                if looks and not self.left:
                    raise KeyboardInterrupt
            return step

        return step


@contextlib.contextmanager
def interrupt_at(place: int) -> Iterator[None]:
    """Within, who takes or gives the turn to write is interrupted at this place, from 1, if there are so many."""
    before = sys.gettrace()
    sys.settrace(_Interrupts(place).enter)
    try:
        yield
    finally:
        sys.settrace(before)
