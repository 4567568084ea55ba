"""The checker flags each kind of bad history with its rule alone, and lets legal ones pass."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evermq.testing.checker import PROMISED, RULES, Expect, Verdict, check
from evermq.testing.history import Event

STRICT = Expect(forbid=frozenset(PROMISED))
LOST, PHANTOM, FAILED, STRANDED, RAW, BUSINESS, INVERSIONS = RULES


def sent(id: str, kseq: int = 0, *, key: str = "", producer: str = "p") -> Event:
    return Event(1, "send_invoke", id=id, key=key, kseq=kseq, producer=producer, sha=f"sha-{id}")


def ok(id: str) -> Event:
    return Event(2, "send_ok", id=id)


def unknown(id: str) -> Event:
    return Event(2, "send_unknown", id=id)


def fail(id: str) -> Event:
    return Event(2, "send_fail", id=id)


def got(id: str, group: str = "g", *, sha: str | None = None, attempt: int = 1) -> Event:
    return Event(3, "deliver", id=id, group=group, sha=f"sha-{id}" if sha is None else sha, attempt=attempt)


def done(id: str, group: str = "g") -> Event:
    return Event(4, "handler_ok", id=id, group=group)


def dead(id: str, group: str = "g") -> Event:
    return Event(4, "dead", id=id, group=group)


def stored(id: str, *, sha: str = "") -> Event:
    return Event(9, "audit", id=id, via="primary", sha=sha)


LOOKED = Event(9, "audit")
CRASH = Event(3, "crash", proc="consumer-1")
A, B = [sent("a", 1, key="k"), ok("a")], [sent("b", 2, key="k"), ok("b")]
SEEN_A, SEEN_B = [got("a"), done("a")], [got("b"), done("b")]
LEGAL = [*A, *B, *SEEN_A, *SEEN_B]
OTHER = [sent("c", 1, key="k", producer="q"), ok("c"), got("c"), done("c")]

BAD: dict[str, tuple[str, list[Event]]] = {
    "acknowledged and never seen again": (LOST, [*A]),
    "delivered and never handled": (LOST, [*A, got("a")]),
    "one of two is missing": (LOST, [*A, *B, *SEEN_A]),
    "the first is missing": (LOST, [*A, *B, *SEEN_B]),
    "the other group never got it": (LOST, [*LEGAL, got("a", "h"), done("a", "h")]),
    "unknown at first, then acknowledged": (LOST, [sent("a"), unknown("a"), ok("a")]),
    "refused at first, then acknowledged": (LOST, [sent("a"), fail("a"), ok("a")]),
    "acknowledged, then a late timeout": (LOST, [sent("a"), ok("a"), unknown("a")]),
    "handled by another group alone": (LOST, [*A, *SEEN_A, got("a", "h")]),
    "dead-lettered in another group alone": (LOST, [*A, *SEEN_A, got("a", "h"), dead("a", "i"), done("a", "i")]),
    "its consumer died and nobody took over": (LOST, [*A, got("a"), CRASH]),
    "still in the store, but nobody came": (LOST, [*A, stored("a")]),
    "gone on the way": (LOST, [*A, LOOKED]),
    "never sent": (PHANTOM, [*LEGAL, got("x")]),
    "never sent, and took effect": (PHANTOM, [*LEGAL, done("x")]),
    "never sent, and dead-lettered": (PHANTOM, [*LEGAL, dead("x")]),
    "never sent, and stored": (PHANTOM, [*LEGAL, stored("x")]),
    "another body": (PHANTOM, [*A, got("a", sha="other"), done("a")]),
    "another body in the store": (PHANTOM, [*LEGAL, stored("a", sha="other")]),
    "another body to the second group": (PHANTOM, [*A, *SEEN_A, got("a", "h", sha="other"), done("a", "h")]),
    "delivered before it was sent": (PHANTOM, [got("a"), *A, done("a")]),
    "refused and delivered": (FAILED, [sent("a"), fail("a"), got("a")]),
    "refused and handled": (FAILED, [sent("a"), fail("a"), done("a")]),
    "refused and dead-lettered": (FAILED, [sent("a"), fail("a"), dead("a")]),
    "refused and stored": (FAILED, [*LEGAL, sent("c"), fail("c"), stored("c")]),
    "refused twice and delivered": (FAILED, [sent("a"), fail("a"), fail("a"), got("a")]),
    "left in the standby": (STRANDED, [*LEGAL, Event(9, "left", id="a", via="standby")]),
    "left behind, uncounted": (STRANDED, [*LEGAL, Event(9, "left", detail="3 messages", via="window")]),
    "delivered twice": (RAW, [*LEGAL, got("a")]),
    "delivered again after a crash": (RAW, [*A, got("a"), CRASH, got("a", attempt=2), done("a")]),
    "delivered again after it was dead": (RAW, [*A, got("a"), dead("a"), got("a", attempt=2)]),
    "took effect twice": (BUSINESS, [*LEGAL, done("a")]),
    "took effect three times": (BUSINESS, [*LEGAL, done("a"), done("a")]),
    "took effect twice in one of two groups": (
        BUSINESS,
        [*A, *SEEN_A, got("a", "h"), done("a", "h"), done("a", "h")],
    ),
    "the second before the first": (INVERSIONS, [*A, *B, got("a"), got("b"), done("b"), done("a")]),
    "delivered and handled the wrong way round": (INVERSIONS, [*A, *B, *SEEN_B, *SEEN_A]),
    "inverted in one of two groups": (
        INVERSIONS,
        [*LEGAL, got("a", "h"), got("b", "h"), done("b", "h"), done("a", "h")],
    ),
    "inverted beside another producer": (INVERSIONS, [*A, *B, *OTHER, *SEEN_B, *SEEN_A]),
    "an unknown one comes late": (INVERSIONS, [sent("a", 1, key="k"), unknown("a"), *B, *SEEN_B, *SEEN_A]),
}

FINE: dict[str, list[Event]] = {
    "all of it": LEGAL,
    "dead-lettered": [*A, got("a"), dead("a")],
    "unknown, and landed": [sent("a", 1, key="k"), unknown("a"), *B, *SEEN_A, *SEEN_B],
    "unknown, and never landed": [sent("a", 1, key="k"), unknown("a"), *B, *SEEN_B],
    "never answered, and landed": [sent("a", 1, key="k"), *B, *SEEN_A, *SEEN_B],
    "refused": [sent("a", 1, key="k"), fail("a"), *B, *SEEN_B],
    "refused, retried, unknown, acknowledged": [sent("a"), fail("a"), sent("a"), unknown("a"), ok("a"), *SEEN_A],
    "two groups": [*LEGAL, got("a", "h"), done("a", "h"), got("b", "h"), dead("b", "h")],
    "two producers in any order": [*A, *B, *OTHER, *SEEN_A, *SEEN_B],
    "without a key in any order": [sent("a", 1), ok("a"), sent("b", 2), ok("b"), *SEEN_B, *SEEN_A],
    "two keys in any order": [*A, sent("b", 2, key="l"), ok("b"), *SEEN_B, *SEEN_A],
    "delivered the wrong way round, handled the right one": [*A, *B, got("b"), got("a"), done("a"), done("b")],
    "found in the store as well": [*LEGAL, stored("a", sha="sha-a"), stored("b")],
}


def rules_of(verdict: Verdict) -> list[str]:
    return [name for name, count in verdict.counts.items() if count]


@pytest.mark.parametrize(("rule", "history"), BAD.values(), ids=BAD)
def test_bad_history_is_flagged_with_its_rule_alone(rule: str, history: list[Event]) -> None:
    verdict = check(history, STRICT)
    assert (verdict.verdict, rules_of(verdict)) == ("FAIL", [rule])
    assert verdict.examples[rule]


def test_there_are_at_least_30_bad_histories_of_every_rule() -> None:
    assert len(BAD) >= 30
    assert {rule for rule, _ in BAD.values()} == set(RULES)


@pytest.mark.parametrize("history", FINE.values(), ids=FINE)
def test_legal_history_passes(history: list[Event]) -> None:
    verdict = check(history, STRICT)
    assert (verdict.verdict, rules_of(verdict)) == ("PASS", [])


def test_retries_and_redeliveries_pass_where_they_are_not_forbidden() -> None:
    history = [*A, got("a"), CRASH, got("a", attempt=2), done("a"), got("a", attempt=3), done("a")]
    verdict = check(history, Expect(forbid=frozenset({INVERSIONS})))
    assert (verdict.verdict, verdict.counts[RAW], verdict.counts[BUSINESS]) == ("PASS", 2, 1)


def test_effects_of_what_was_sent_again_are_counted_beyond_as_many() -> None:
    twice = [sent("a"), sent("a"), ok("a"), got("a"), done("a"), got("a"), done("a")]
    assert check(twice).counts["duplicates_business"] == 0
    assert check([*twice, got("a"), done("a")]).counts["duplicates_business"] == 1


def test_lost_is_told_apart_where_somebody_looked() -> None:
    verdict = check([*A, *B, sent("c"), ok("c"), stored("a"), got("b")])
    assert (verdict.counts[LOST], verdict.lost_in_store, verdict.lost_on_the_way) == (3, 1, 2)
    assert any("still in primary" in example for example in verdict.examples[LOST])
    assert (check([*A]).lost_in_store, check([*A]).lost_on_the_way) == (0, 0)


def test_recovered_are_the_unknown_that_were_handled() -> None:
    verdict = check([sent("a"), unknown("a"), sent("b"), unknown("b"), *OTHER, *SEEN_A])
    assert (verdict.uncertain, verdict.recovered) == (2, 1)


def test_declared_group_that_got_nothing_has_lost_everything() -> None:
    assert check(LEGAL, Expect(groups=frozenset({"g", "h"}))).counts[LOST] == 2


@pytest.mark.parametrize(
    "expect",
    [
        Expect(acknowledged_min=3),
        Expect(via_min={"standby": 1}),
        Expect(faults_min=1),
        Expect(duplicates_raw_min=1),
        Expect(unknown_min=1),
        Expect(switches_min=1),
    ],
)
def test_run_that_did_not_show_what_it_should_is_invalid(expect: Expect) -> None:
    verdict = check(LEGAL, expect)
    assert (verdict.verdict, len(verdict.reasons)) == ("INVALID", 1)
    shown = [*LEGAL, *OTHER, got("c"), Event(3, "deliver", id="a", group="g", via="standby"), CRASH]
    shown += [Event(3, "switch"), sent("d"), unknown("d")]
    assert check(shown, expect).verdict == "PASS"


def test_broken_promise_is_worse_than_a_run_that_shows_too_little() -> None:
    assert check([*A], Expect(acknowledged_min=9)).verdict == "FAIL"


def test_rule_that_nobody_knows_cannot_be_forbidden() -> None:
    with pytest.raises(ValueError, match="forbid"):
        Expect(forbid=frozenset({"inversion"}))


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """A legal history: a few producers and keys, outcomes of every kind, one or two groups, some dead letters."""
    chance = draw(st.randoms(use_true_random=False))
    count = draw(st.integers(2, 12))
    groups = draw(st.sampled_from((("g",), ("g", "h"))))
    events: list[Event] = []
    for number in range(count):
        id = f"m{number}"
        outcome = chance.choice((ok, ok, ok, unknown, fail)) if number else ok
        events += [sent(id, number, key=chance.choice(("", "k", "l")), producer=chance.choice("pq")), outcome(id)]
        if outcome is ok or (outcome is unknown and chance.random() < 0.5):
            for group in groups:
                end = dead if number and chance.random() < 0.1 else done
                events += [got(id, group), end(id, group)]
    return events


def shuffled(history: list[Event], chance: random.Random) -> list[Event]:
    """Another order in which it can have happened: what concerns one message keeps its order, and so do handlers."""
    queues: dict[str, list[Event]] = {}
    for event in history:
        queues.setdefault(event.id, []).append(event)
    order: list[Event] = []
    handled = 0
    ids = [event.id for event in history if event.ev == "handler_ok"]
    while any(queues.values()):
        events = queues[chance.choice([id for id, events in queues.items() if events])]
        if events[0].ev == "handler_ok":
            if ids[handled] != events[0].id:
                continue
            handled += 1
        order.append(events.pop(0))
    return order


@settings(max_examples=60, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_legal_history_passes_in_every_order_in_which_it_can_have_happened(
    history: list[Event], chance: random.Random
) -> None:
    assert rules_of(check(history, STRICT)) == []
    assert rules_of(check(shuffled(history, chance), STRICT)) == []


@settings(max_examples=120, deadline=None)
@given(histories(), st.randoms(use_true_random=False), st.sampled_from(RULES))
def test_one_corruption_of_a_legal_history_is_flagged_by_its_rule(
    history: list[Event], chance: random.Random, rule: str
) -> None:
    handled = [event for event in history if event.ev == "handler_ok" and ok(event.id) in history]
    victim = chance.choice(handled)
    match rule:
        case "lost":
            history = [event for event in history if event is not victim]
        case "phantom":
            history = [forged(event) if event.id == victim.id else event for event in history]
        case "failed_but_delivered":
            history = [fail(victim.id) if event == ok(victim.id) else event for event in history]
        case "stranded":
            history.append(Event(9, "left", id=victim.id))
        case "duplicates_raw":
            history.append(got(victim.id, victim.group))
        case "duplicates_business":
            history.append(victim)
        case "inversions":
            history += [sent("y", 1000, key="k"), sent("z", 1001, key="k")]
            history += [
                got("z", victim.group),
                done("z", victim.group),
                got("y", victim.group),
                done("y", victim.group),
            ]
    verdict = check(history, replace(STRICT, groups=frozenset({"g"})))
    assert (verdict.verdict, rules_of(verdict)) == ("FAIL", [rule])


def forged(event: Event) -> Event:
    return got(event.id, event.group, sha="other") if event.ev == "deliver" else event
