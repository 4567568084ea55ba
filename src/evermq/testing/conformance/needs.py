"""What a subject must promise for a check to be run on it."""

from __future__ import annotations

from enum import Enum

from evermq.testing.conformance.subject import Subject
from evermq.traits import Ack, Groups, Order

__all__ = ["Need", "meets"]

_BYTES_MAX = 64 << 20  # a test of a limit beyond it costs too much memory
_COUNT_MAX = 70_000


class Need(Enum):
    """A promise or ability."""

    ORDER = "messages of one key keep their order"
    SINGLE_ACK = "an ack is of one message alone"
    MANY_GROUPS = "every group sees every message"
    NEW_GROUPS = "reader() makes a new group"
    REPLAY = "a new group begins where it wants"
    DELAY = "a message may wait for its time"
    NO_DELAY = "no message may"
    LANES = "there are several lanes"
    SMALL_MESSAGES = "the largest message is small enough to try"
    SMALL_BATCHES = "the longest batch is short enough to try"
    REOPEN = "the subject opens the same topic again"
    PLACE = "the subject shows the place"


def meets(subject: Subject, need: Need) -> bool:
    """Whether the subject promises this."""
    traits = subject.traits
    return {
        Need.ORDER: traits.order >= Order.KEY,
        Need.SINGLE_ACK: traits.ack >= Ack.SINGLE,
        Need.MANY_GROUPS: traits.groups >= Groups.MANY,
        Need.NEW_GROUPS: subject.makes_groups,
        Need.REPLAY: traits.replay and subject.makes_groups and traits.groups >= Groups.MANY,
        Need.DELAY: traits.delay_ms_max > 0,
        Need.NO_DELAY: traits.delay_ms_max == 0,
        Need.LANES: traits.lanes > 1,
        Need.SMALL_MESSAGES: traits.message_bytes_max <= _BYTES_MAX,
        Need.SMALL_BATCHES: traits.batch_count_max <= _COUNT_MAX,
        Need.REOPEN: subject.reopens,
        Need.PLACE: subject.places,
    }[need]
