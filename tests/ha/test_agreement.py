"""What processes agree on: what is understood, what is refused, and what follows from votes."""

import contextlib
import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evermq.errors import Damaged
from evermq.ha.agreement import Agreement, Pin, decode, encode
from evermq.ha.breaker import State
from evermq.ha.votes import Vote, decide, decode_vote, encode_vote, tally

NOW_MS = 1_700_000_000_000
AWAY = Agreement(
    epoch=7,
    away={"primary": State.DEGRADED, "primary/3": State.RETURNING},
    pin=Pin("standby", "ann@h1", "maintenance", 5),
    by="votes",
    why="down",
    at_ms=9,
)
states = st.sampled_from(list(State))
votes = st.builds(
    Vote,
    st.sampled_from(["h1", "h2", "h3"]),
    st.frozensets(st.just("primary")),
    st.dictionaries(st.just("primary"), st.sampled_from([State.RETURNING, State.DEGRADED])),
    sends=st.booleans(),
)


def test_agreement_is_read_as_it_was_written() -> None:
    assert decode(encode(AWAY), NOW_MS) == AWAY
    assert decode(b"", NOW_MS) == Agreement()
    after = AWAY.next(by="x", why="y", at_ms=1, away={})
    assert (after.epoch, after.away, after.pin) == (8, {}, AWAY.pin)


def test_long_reasons_are_cut_and_understood() -> None:
    pin = Pin("standby", "a" * 2_000, "because " * 500, 5)
    found = decode(encode(Agreement().next(by=pin.who, why=pin.why, at_ms=5, pin=pin)), NOW_MS)
    assert found.pin
    assert found.pin.why.startswith("because because")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"epoch": "7"}, "epoch"),
        ({"epoch": 0}, "epoch"),
        ({"epoch": True}, "epoch"),
        ({"epoch": 1 << 60}, "epoch"),
        ({"epoch": 1 << 53}, "epoch"),
        ({"away": []}, "away"),
        ({"away": {"primary": "broken"}}, "none of normal, returning, degraded"),
        ({"away": {"primary": ["degraded"]}}, "none of"),
        ({"pin": "standby"}, "pin"),
        ({"pin": {"rung": "standby"}}, "who"),
        ({"why": "x" * 2_000}, "why"),
        ({"by": None}, "by"),
    ],
)
def test_malformed_agreement_is_refused_with_the_field(change: dict[str, object], says: str) -> None:
    content = json.loads(encode(AWAY)) | change
    with pytest.raises(Damaged, match=says):
        decode(json.dumps(content).encode(), NOW_MS)


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_an_agreement_or_damaged(value: bytes) -> None:
    for read in (partial(decode, now_ms=NOW_MS), decode_vote):
        with contextlib.suppress(Damaged):
            assert read(value)


@given(votes)
def test_vote_is_read_as_it_was_written(vote: Vote) -> None:
    assert decode_vote(encode_vote(vote)) == vote


def test_one_sick_host_of_three_moves_nobody_however_many_processes_it_has() -> None:
    sick = [Vote("h1", frozenset(), {"primary": State.DEGRADED}) for _ in range(20)]
    well = [Vote("h2", frozenset({"primary"})), Vote("h3", frozenset({"primary"}))]
    assert decide({}, sick + well) == {}
    assert tally("primary", sick + well).asked == 3
    assert decide({}, [*sick, well[0], Vote("h3", frozenset(), {"primary": State.DEGRADED})]) == {
        "primary": State.DEGRADED
    }


def test_one_that_has_nothing_to_say_stands_in_nobodys_way() -> None:
    silent = [Vote(f"h{i}") for i in range(2, 9)]  # they read, and send nothing
    assert decide({}, [*silent, Vote("h1", frozenset(), {"primary": State.DEGRADED})]) == {"primary": State.DEGRADED}
    assert decide({"primary": State.DEGRADED}, silent) == {"primary": State.DEGRADED}


def test_one_of_several_that_send_moves_nobody_though_the_others_have_not_tried_lately() -> None:
    quiet = [Vote(f"h{i}", sends=True) for i in range(2, 10)]
    sick = [Vote(host, frozenset(), {"primary": State.DEGRADED}, sends=True) for host in ("h1", "h11")]
    assert decide({}, [*quiet, sick[0]]) == {}
    assert decide({}, [*quiet, *sick]) == {"primary": State.DEGRADED}
    assert decide({"primary": State.DEGRADED}, [*quiet, sick[0]]) == {"primary": State.DEGRADED}


def test_what_waits_below_keeps_a_rung_and_its_lanes_away_and_no_other_rung() -> None:
    away = {"primary": State.DEGRADED, "primary/3": State.DEGRADED, "standby": State.DEGRADED}
    well = [Vote("h1", frozenset({"primary", "standby"}))]
    assert decide(away, well, waiting={"primary"}) == away | {"standby": State.RETURNING}


def test_it_comes_back_in_two_steps_and_not_before_the_last_change_has_settled() -> None:
    well = [Vote("h1", frozenset({"primary"})), Vote("h2", frozenset({"primary"}))]
    degraded = {"primary": State.DEGRADED}
    assert decide(degraded, well, settled=False) == degraded
    assert decide(degraded, well) == {"primary": State.RETURNING}
    assert decide({"primary": State.RETURNING}, well) == {}
    half = [well[0], Vote("h2", frozenset(), {"primary": State.RETURNING})]
    assert decide({"primary": State.RETURNING}, half) == {"primary": State.RETURNING}


def test_lane_is_decided_on_its_own() -> None:
    seen = frozenset({"primary"})
    lane = [Vote(host, seen, {"primary/3": State.DEGRADED}) for host in ("h1", "h2")]
    assert decide({}, [*lane, Vote("h3", seen)]) == {"primary/3": State.DEGRADED}


@given(states, st.lists(votes, max_size=12), st.booleans())
def test_whatever_the_votes_a_majority_of_hosts_stands_behind_each_change(
    state: State, said: list[Vote], settled: bool
) -> None:
    before = {"primary": state} if state else {}
    after = decide(before, said, settled=settled).get("primary", State.NORMAL)
    count = tally("primary", said)
    if after is State.DEGRADED and state is not State.DEGRADED:
        assert 2 * count.degraded > count.asked
        assert count.degraded > 1 or count.hosts == 1
    if after < state:
        assert settled
        assert after == state - 1
        assert 2 * count.degraded < count.asked
