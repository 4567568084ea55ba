"""The plans of the worlds of order: what happens in each, and when."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

__all__ = ["ADOPTED", "FOUR_RUNGS", "GROUPS", "LANES", "PILED_UP", "PLANS", "RETAINED", "SCATTERED", "Plan", "drawn"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens in a world, in milliseconds since it began.

    primary_down, standby_down, standby2_down, last_full, unread, store_down: from and to; standby2_down: of a rung that
    is not there if None; unread: `unread_rung` hands nothing out, store_down: the progress of the groups cannot be
    reached. back_ms: how long the primary takes to hand out again what was given back. hangs: whether a rung that is
    down says so, or says nothing. store_ms: how long a call to that store takes
    at most, one way. store_fails: how often it fails, before or after its effect. cuts: how often a consumer loses its
    way to the store for longer than its claims last. lies: how often an append has an unknown outcome although all is
    well. flags: whether something may be handed out flagged, since something was lost. is_strict: no second effect is
    allowed, and no inversion beyond what was flagged.
    may_wait: in the end something may wait that was never acknowledged. little: senders leave the primary at once, and
    come back when no more than this is left in the standby; 0: each append tries the primary first. held_max: how many
    messages may wait for others, all in all, once the senders are back. moves_max: how many lanes may go to another
    reader that asks for them, all in all; None: any number. lanes: of the numbers; 12 are a multiple of those of every
    rung.
    """

    primary_down: tuple[int, int] = (2_000, 6_000)
    standby_down: tuple[int, int] = (0, 0)
    standby2_down: tuple[int, int] | None = None
    last_full: tuple[int, int] = (0, 0)
    unread: tuple[int, int] = (0, 0)
    unread_rung: str = "primary"
    little: int = 0
    held_max: int = 0
    moves_max: int | None = None
    store_down: tuple[int, int] = (0, 0)
    hangs: bool = False
    store_ms: int = 10
    store_fails: float = 0.0
    cuts: int = 0
    lies: float = 0.05
    window: int = 4
    refused: float = 0.0
    dead: float = 0.0
    released: float = 0.0
    back_ms: int = 0
    append_ms_max: int = 10_000
    producer_kills: int = 0
    restart_ms_max: int = 500
    consumer_kills: int = 0
    rebalances: int = 0
    late_group_ms: int = 0
    progress_lost_ms: int = 0
    tail_lost_ms: int = 0
    host_lost_ms: int = 0
    hold_ms_max: int | None = None
    atomic: bool = True
    flags: bool = False
    is_strict: bool = True
    may_wait: bool = False
    count: int = 30
    think_ms: int = 700
    lanes: int = 12


_BOTH = Plan(standby_down=(2_500, 5_500))
_ALL = replace(
    _BOTH,
    window=16,
    refused=0.02,
    dead=0.02,
    released=0.02,
    append_ms_max=400,
    producer_kills=2,
    consumer_kills=2,
    rebalances=6,
    unread=(7_000, 9_000),
    store_ms=40,
    store_fails=0.02,
    cuts=2,
    hangs=True,
)
ADOPTED = replace(_BOTH, producer_kills=12, restart_ms_max=4_000, think_ms=100, count=60, lies=0.3)
GROUPS = replace(
    _BOTH,
    window=32,
    refused=0.05,
    dead=0.02,
    lies=0.2,
    producer_kills=2,
    consumer_kills=3,
    rebalances=4,
    think_ms=400,
    count=40,
)
SCATTERED = Plan(
    refused=0.05,
    dead=0.02,
    released=0.02,
    consumer_kills=2,
    cuts=1,
    store_fails=0.02,
    window=64,
    think_ms=200,
    count=80,
)
PILED_UP = Plan(primary_down=(2_000, 3_000), window=64, think_ms=20, count=250, moves_max=80)
LANES = replace(GROUPS, unread=(3_000, 7_000), unread_rung="standby", window=64)
RETAINED = Plan(
    primary_down=(1_000, 7_000),
    tail_lost_ms=3_000,
    unread=(2_000, 5_000),
    unread_rung="standby",
    producer_kills=3,
    restart_ms_max=3_000,
    consumer_kills=1,
    window=500,
    think_ms=200,
    count=60,
    flags=True,
)
FOUR_RUNGS = replace(RETAINED, standby_down=(2_500, 6_000), standby2_down=(4_000, 5_500), tail_lost_ms=3_500, lies=0.1)
PLANS = {
    "pumped": ("both rungs down: the local log is pumped behind what is newer", _BOTH),
    "windows": ("windows full of messages that wait for one in another lane", Plan(window=2, lies=0.3)),
    "in-flight": (
        "callers that go on while a send of theirs is under way",
        Plan(append_ms_max=30, lies=0.4, window=1, think_ms=15, primary_down=(200, 1_000)),
    ),
    "refused": ("messages are refused after their successors were numbered", Plan(refused=0.1, window=16)),
    "given-up": ("callers give up, and the copy lands later", replace(_BOTH, append_ms_max=50, lies=0.4)),
    "nothing-left": (
        "no rung takes anything for a while",
        replace(_BOTH, last_full=(2_000, 5_000), append_ms_max=300, lies=0.2, refused=0.02, window=16),
    ),
    "dead-letters": ("what is dead-lettered has successors", replace(_BOTH, dead=0.1, refused=0.05, window=16)),
    "effects": ("consumers are killed between effect and acknowledgement", Plan(consumer_kills=4)),
    "long-outage": ("copies come long after their originals", Plan(primary_down=(1_000, 40_000), lies=0.2, count=60)),
    "back-late": (
        "what was given back comes again after more than half a minute",
        Plan(
            primary_down=(2_000, 45_000),
            unread=(2_000, 60_000),
            consumer_kills=1,
            rebalances=4,
            cuts=2,
            released=0.1,
            lies=0.1,
            window=64,
            think_ms=300,
            count=90,
        ),
    ),
    "back-slow": (
        "what was given back comes again after more than half a minute, and its rung answers all the while",
        Plan(back_ms=40_000, released=0.05, rebalances=1, lies=0.3, window=64, think_ms=300, count=60),
    ),
    "progress-lost": (
        "the progress of the groups is lost",
        Plan(progress_lost_ms=5_000, count=60, flags=True, window=32, is_strict=False),
    ),
    "restarts": ("producers are killed and go on", replace(_BOTH, producer_kills=4)),
    "restarts-unread": (
        "producers are killed and go on while what they sent before cannot be read",
        Plan(unread=(1_000, 6_000), producer_kills=8, think_ms=300, count=60, window=64),
    ),
    "late-group": ("a group joins at the newest message", Plan(late_group_ms=4_000, flags=True, window=32)),
    "host-lost": ("a host dies for ever", replace(_BOTH, host_lost_ms=5_200, may_wait=True, flags=True, window=32)),
    "tail-lost": (
        "the standby loses what it acknowledged last",
        Plan(tail_lost_ms=3_000, flags=True, window=32, think_ms=200, count=60),
    ),
    "late-rung": (
        "producers gave their numbers lanes while nobody knew how many the primary has",
        Plan(lanes=4, unread=(2_000, 9_000), primary_down=(4_000, 8_000), think_ms=300, count=60, window=64),
    ),
    "released": ("handlers give messages back for a while", Plan(released=0.15, lies=0.3)),
    "rebalances": ("lanes are taken away and given back between two reads", Plan(rebalances=12, lies=0.2)),
    "at-least-once": ("effects that no transaction joins to their mark", Plan(atomic=False, consumer_kills=3)),
    "flagged": (
        "what waits for too long goes on, flagged",
        Plan(hold_ms_max=800, flags=True, is_strict=False, lies=0.3),
    ),
    "store": (
        "the progress is far away, cannot be reached for a while, and loses answers",
        # Without marks of the handler's own, which would make up for a state that is not written.
        replace(_BOTH, store_ms=60, store_fails=0.05, store_down=(4_000, 7_000), consumer_kills=1, atomic=False),
    ),
    "cut-off": (
        "readers live, and their claims end",
        replace(_BOTH, cuts=4, consumer_kills=1, store_ms=40, refused=0.1, window=16, lies=0.2),
    ),
    "hangs": ("rungs that are down say nothing", replace(_BOTH, hangs=True, lies=0.2, rebalances=3)),
    "unread": ("a rung takes messages and hands none out", Plan(unread=(2_000, 9_000), lies=0.2, consumer_kills=1)),
    "return": (
        "senders come back while the standby is still full",
        Plan(
            primary_down=(1_000, 6_000),
            unread=(1_000, 6_000),
            unread_rung="standby",
            little=10,
            held_max=40,
            window=64,
            think_ms=200,
            count=80,
        ),
    ),
    "beside": (
        "what the protocol that is published meets beside ours",
        Plan(primary_down=(1_000, 4_000), consumer_kills=4, cuts=8, think_ms=400, count=80),
    ),
    "ladder": ("all of it at the same time", _ALL),
    "four-rungs": (
        "all of it, over one standby more that is down while both others are",
        replace(_ALL, primary_down=(2_000, 8_000), standby_down=(3_000, 7_000), standby2_down=(4_500, 6_000)),
    ),
}


def drawn(seed: int) -> Plan:
    """A plan of its own for each seed: what no plan above has at the same time."""
    chance = Random(seed)

    def span(share: float) -> tuple[int, int]:
        begins_ms = chance.randrange(9_000)
        return (begins_ms, begins_ms + chance.randrange(300, 6_000)) if chance.random() < share else (0, 0)

    return Plan(
        primary_down=span(0.8),
        standby_down=span(0.7),
        last_full=span(0.3),
        unread=span(0.5),
        unread_rung=chance.choice(("primary", "standby")),
        store_down=span(0.4),
        hangs=chance.random() < 0.5,
        store_ms=chance.choice((1, 10, 40, 100)),
        store_fails=chance.choice((0, 0.02, 0.1)),
        cuts=chance.randrange(5),
        lies=chance.choice((0, 0.05, 0.3)),
        window=chance.choice((8, 16, 64)),
        refused=chance.choice((0, 0.05, 0.15)),
        dead=chance.choice((0, 0.05)),
        released=chance.choice((0, 0.05, 0.2)),
        append_ms_max=chance.choice((30, 400, 10_000)),
        producer_kills=chance.randrange(5),
        consumer_kills=chance.randrange(6),
        rebalances=chance.randrange(10),
        think_ms=chance.choice((30, 200, 700)),
        count=chance.choice((20, 40)),
    )
