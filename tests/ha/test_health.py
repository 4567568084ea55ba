"""When a rung counts as down, and when it does not."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evermq import Message, MessageFactory
from evermq.errors import (
    Closed,
    Denied,
    EvermqError,
    NoSuchTopic,
    Overloaded,
    Rejected,
    TooLarge,
    Unavailable,
    Uncertain,
)
from evermq.ha.health import Health, Limits

make = MessageFactory()
DOWN = Unavailable("refused")


class Line:
    """A health over a clock that is turned by hand."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.health = Health(limits or Limits())
        self.now_ms = 1_000_000

    def saw(
        self,
        error: EvermqError | None = None,
        *,
        took_ms: int = 2,
        after_ms: int = 0,
        messages: Sequence[Message] | None = None,
        generation: int | None = None,
    ) -> str:
        self.now_ms += after_ms
        batch = messages or [make("x")]
        mine = self.health.generation if generation is None else generation
        self.health.saw(batch, error, took_ms, self.now_ms, mine)
        return self.health.verdict


def test_ten_failures_in_a_row_are_an_outage_and_nine_are_not() -> None:
    line = Line()
    assert [bool(line.saw(DOWN, after_ms=100)) for _ in range(10)] == [False] * 9 + [True]
    assert line.health.verdict == "10 failures in a row: refused"


def test_failures_within_less_than_half_a_second_are_one_event() -> None:
    line = Line()
    assert not any(line.saw(DOWN, after_ms=1) for _ in range(300))
    assert line.saw(DOWN, after_ms=201)


def test_one_message_that_fails_again_and_again_is_no_outage() -> None:
    line = Line(Limits(attempts=1000))
    poison = [make("x")]
    assert not any(line.saw(Uncertain("gone"), after_ms=100, messages=poison) for _ in range(100))
    assert line.saw(Uncertain("gone"), after_ms=100)


def test_64_senders_and_one_broken_socket_do_not_trip() -> None:
    line = Line()
    for _ in range(200):
        for sender in range(64):
            assert not line.saw(DOWN if sender == 7 else None, after_ms=2)


def test_all_64_senders_losing_one_connection_do_not_trip() -> None:
    line = Line()
    for _ in range(100):
        line.saw(after_ms=20)
    assert not any(line.saw(Uncertain("reset"), after_ms=1) for _ in range(64))
    assert not any(line.saw(after_ms=20) for _ in range(100))


def test_success_every_ninth_time_trips_by_the_share_of_failures() -> None:
    line = Line()
    verdicts = [line.saw(None if i % 9 == 8 else DOWN, after_ms=100) for i in range(30)]
    assert not any(verdicts[:19])
    assert "of 20 attempts failed" in verdicts[19]


def test_share_is_taken_of_the_last_ten_seconds_only() -> None:
    line = Line(Limits(failures=1000))
    for _ in range(15):
        line.saw(DOWN, after_ms=10)
    assert not line.saw(DOWN, after_ms=20_000)
    assert not any(line.saw(DOWN, after_ms=40) for _ in range(18))
    assert line.saw(DOWN, after_ms=10)


def test_poison_never_trips_however_much_of_it_there_is() -> None:
    line = Line()
    kinds = [TooLarge, Denied, NoSuchTopic, Rejected, Closed]
    assert not any(line.saw(kinds[i % 5]("no"), took_ms=5_000, after_ms=50) for i in range(10_000))


def test_poison_between_failures_hides_no_outage() -> None:
    line = Line()
    for _ in range(9):
        line.saw(DOWN, after_ms=100)
        line.saw(TooLarge("no"), after_ms=1)
    assert line.saw(DOWN, after_ms=100)


def test_frozen_engine_trips_at_the_third_timeout() -> None:
    line = Line()
    late = Uncertain("did not answer")
    assert [bool(line.saw(late, took_ms=800, after_ms=800)) for _ in range(3)] == [False, False, True]


def test_engine_that_answers_too_slowly_trips_though_nothing_fails() -> None:
    line = Line(Limits(slow_ms=200))
    assert [bool(line.saw(took_ms=250, after_ms=300)) for _ in range(3)] == [False, False, True]
    assert "200 ms" in line.health.verdict


def test_results_of_attempts_begun_before_the_last_change_are_not_counted() -> None:
    line = Line()
    before = line.health.generation
    line.health.reset()
    assert not any(line.saw(DOWN, after_ms=100, generation=before) for _ in range(50))
    for _ in range(9):
        line.saw(DOWN, after_ms=100)
    line.saw(after_ms=1, generation=before)  # an old success ends no row of new failures
    assert line.saw(DOWN, after_ms=100)


def test_verdict_stays_until_it_is_reset() -> None:
    line = Line()
    for _ in range(10):
        line.saw(DOWN, after_ms=100)
    assert line.saw(after_ms=100)
    line.health.reset()
    assert not line.saw(after_ms=100)


@pytest.mark.parametrize("error", [Unavailable("x"), Uncertain("x"), Overloaded("x")])
def test_every_error_of_availability_counts(error: EvermqError) -> None:
    line = Line()
    assert [line.saw(error, after_ms=100) for _ in range(10)][-1]


outcomes = st.lists(
    st.tuples(st.sampled_from(["good", "down", "slow", "poison"]), st.integers(0, 400), st.integers(0, 3)), max_size=80
)


@given(outcomes)
def test_rules_say_what_they_say(attempts: list[tuple[str, int, int]]) -> None:
    """Against the rules written down naively over the whole list."""
    limits = Limits(failures=4, slow=2, attempts=8, window_ms=2_000)
    line, told = Line(limits), []
    ids = [make("x") for _ in range(4)]
    for kind, after_ms, which in attempts:
        errors = {"down": DOWN, "poison": TooLarge("x")}
        took_ms = 900 if kind == "slow" else 1
        verdict = line.saw(errors.get(kind), took_ms=took_ms, after_ms=after_ms, messages=[ids[which]])
        if kind != "poison":
            told.append((kind, line.now_ms, which))
        if verdict:
            break
        assert not _down(told, "down", limits.failures)
        assert not _down(told, "slow", limits.slow)
    else:
        return
    recent = [kind for kind, at_ms, _ in told if line.now_ms - at_ms <= limits.window_ms]
    bad = sum(kind != "good" for kind in recent)
    assert (
        _down(told, "down", limits.failures)
        or _down(told, "slow", limits.slow)
        or (len(recent) >= limits.attempts and bad * 2 >= len(recent) - 2)
    )


def _down(told: list[tuple[str, int, int]], kind: str, count: int) -> bool:
    row: list[tuple[int, int]] = []
    for each, at_ms, which in reversed(told):
        if each != kind:
            break
        row.append((at_ms, which))
    return len(row) >= count and row[0][0] - row[-1][0] >= 500 and len({which for _, which in row}) > 1
