"""The checker flags each kind of bad history with its rule, and lets legal ones pass."""

import pytest

from evermq.testing.checker import Expect, check
from evermq.testing.history import Event

SENT = Event(1, "send_invoke", id="a", key="k", kseq=1, producer="p", sha="s")
SENT_2 = Event(2, "send_invoke", id="b", key="k", kseq=2, producer="p", sha="s2")
OK, OK_2 = Event(3, "send_ok", id="a"), Event(4, "send_ok", id="b")
GOT, GOT_2 = Event(5, "deliver", id="a", group="g", sha="s"), Event(6, "deliver", id="b", group="g", sha="s2")
DONE, DONE_2 = Event(7, "handler_ok", id="a", group="g"), Event(8, "handler_ok", id="b", group="g")
LEGAL = [SENT, SENT_2, OK, OK_2, GOT, GOT_2, DONE, DONE_2]
UNKNOWN, FAIL = Event(3, "send_unknown", id="a"), Event(3, "send_fail", id="a")


@pytest.mark.parametrize(
    ("rule", "history"),
    [
        ("lost", [SENT, OK]),
        ("lost", [SENT, OK, GOT]),
        ("lost", [SENT, SENT_2, OK, OK_2, GOT, DONE]),
        ("lost", [*LEGAL, Event(9, "deliver", id="a", group="h", sha="s"), Event(9, "handler_ok", id="a", group="h")]),
        ("lost", [SENT, UNKNOWN, OK]),
        ("phantom", [*LEGAL, Event(9, "deliver", id="x", group="g")]),
        ("phantom", [SENT, OK, Event(5, "deliver", id="a", group="g", sha="other"), DONE]),
        ("phantom", [*LEGAL, Event(9, "handler_ok", id="x", group="g")]),
        ("failed_but_delivered", [SENT, FAIL, GOT]),
        ("failed_but_delivered", [SENT, FAIL, DONE]),
        ("stranded", [*LEGAL, Event(9, "left", id="a", via="standby")]),
        ("duplicates_raw", [*LEGAL, Event(9, "deliver", id="a", group="g", sha="s")]),
        ("duplicates_business", [*LEGAL, Event(9, "handler_ok", id="a", group="g")]),
        ("inversions", [SENT, SENT_2, OK, OK_2, GOT, GOT_2, DONE_2, DONE]),
    ],
)
def test_bad_history_is_flagged_with_its_rule_alone(rule: str, history: list[Event]) -> None:
    verdict = check(history, Expect(forbid=frozenset({"duplicates_raw", "duplicates_business", "inversions"})))
    assert verdict.verdict == "FAIL"
    assert [name for name, count in verdict.counts.items() if count] == [rule]


@pytest.mark.parametrize(
    "history",
    [
        LEGAL,
        [SENT, OK, GOT, Event(7, "dead", id="a", group="g")],
        [SENT, SENT_2, UNKNOWN, OK_2, GOT, GOT_2, DONE, DONE_2],
        [SENT, SENT_2, UNKNOWN, OK_2, GOT_2, DONE_2],
        [SENT, SENT_2, FAIL, OK_2, GOT_2, DONE_2],
        [SENT, FAIL, UNKNOWN, OK, GOT, DONE],
    ],
)
def test_legal_history_passes(history: list[Event]) -> None:
    assert check(history, Expect(forbid=frozenset({"inversions"}))).verdict == "PASS"


def test_duplicates_and_inversions_are_only_counted_where_they_are_not_forbidden() -> None:
    verdict = check([*LEGAL, Event(9, "handler_ok", id="a", group="g")])
    assert (verdict.verdict, verdict.counts["duplicates_business"]) == ("PASS", 1)


@pytest.mark.parametrize(
    "expect",
    [
        Expect(acknowledged_min=3),
        Expect(via_min={"standby": 1}),
        Expect(faults_min=1),
        Expect(duplicates_raw_min=1),
        Expect(unknown_min=1),
    ],
)
def test_run_that_did_not_show_what_it_should_is_invalid(expect: Expect) -> None:
    assert check(LEGAL, expect).verdict == "INVALID"
