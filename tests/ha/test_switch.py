"""What one process makes of what it sees and of what is agreed."""

from collections.abc import Sequence

from evermq import Message, MessageFactory
from evermq.clock import SystemClock
from evermq.errors import Denied, EvermqError, Overloaded, Partial, TooLarge, Unavailable
from evermq.ha.agreement import Agreement, Pin
from evermq.ha.breaker import State
from evermq.ha.switch import Settings, Switch
from evermq.lanes import lane_of
from evermq.position import Position

make = MessageFactory()
DOWN = Unavailable("refused")
LANES = 8
KEYS = {lane_of(b"%d" % i, LANES): b"%d" % i for i in range(200)}


class Hand(SystemClock):
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.at_ms = 1_000_000

    def monotonic_ms(self) -> int:
        return self.at_ms


class Stand:
    """A switch that is told what happens."""

    def __init__(
        self,
        settings: Settings | None = None,
        lanes: int = LANES,
        rungs: Sequence[str] = ("primary", "standby", "last"),
    ) -> None:
        self.clock = Hand()
        self.switch = Switch(rungs, lanes=lanes, settings=settings, clock=self.clock)

    def saw(
        self,
        error: EvermqError | None = None,
        rung: str = "primary",
        *,
        after_ms: int = 0,
        messages: Sequence[Message] | None = None,
        took_ms: int = 1,
        epoch: int | None = None,
    ) -> None:
        self.clock.at_ms += after_ms
        self.switch.saw(
            rung,
            messages or [make("x")],
            error,
            began_ms=self.clock.at_ms - took_ms,
            ended_ms=self.clock.at_ms,
            epoch=self.switch.epoch if epoch is None else epoch,
        )

    def fails(self, rung: str = "primary") -> None:
        for _ in range(10):
            self.saw(DOWN, rung, after_ms=100)

    def passes(self, for_ms: int, *, good: bool, rung: str = "primary") -> None:
        for _ in range(0, for_ms, 1_000):
            self.clock.at_ms += 1_000
            self.switch.probed(rung, None if good else DOWN, took_ms=3)
            self.switch.tick()

    def begins(self, count: int = 1_000) -> dict[int, int]:
        found: dict[int, int] = {}
        for _ in range(count):
            rung = self.switch.begin()
            found[rung] = found.get(rung, 0) + 1
        return found


def lane_batch(*lanes: int) -> list[Message]:
    return [make("x", key=KEYS[lane]) for lane in lanes]


def partial(messages: Sequence[Message], *sick: int) -> Partial:
    return Partial([DOWN if lane_of(m.key or b"", LANES) in sick else Position("0", 1) for m in messages])


def test_it_diverts_itself_at_once_and_returns_by_itself() -> None:
    stand = Stand()
    assert stand.switch.begin() == 0
    stand.fails()
    assert stand.switch.state is State.DEGRADED
    stand.switch.leave_to_probe("primary", True)
    assert stand.begins() == {1: 1_000}
    stand.passes(20_000, good=False)
    stand.passes(11_000, good=True)
    assert stand.switch.state.name == "RETURNING"
    assert stand.begins() == {0: 10, 1: 990}
    stand.passes(6_000, good=True)
    assert stand.switch.state.name == "NORMAL"
    assert [change.state.name for change in stand.switch.changes] == ["DEGRADED", "RETURNING", "NORMAL"]


def test_relapse_of_the_canary_sends_everything_down_again() -> None:
    stand = Stand()
    stand.fails()
    stand.switch.leave_to_probe("primary", True)
    stand.passes(16_000, good=True)
    stand.saw(DOWN)
    assert stand.switch.state is State.DEGRADED
    assert stand.begins() == {1: 1_000}


def test_trial_of_a_lower_rung_has_a_home() -> None:
    stand = Stand(Settings(trickle=10))
    assert {(stand.switch.begin(), stand.switch.home) for _ in range(100)} == {(0, 0), (1, 0), (2, 0)}
    stand.fails()
    stand.switch.leave_to_probe("primary", True)
    assert (stand.switch.begin(), stand.switch.home) == (1, 1)


def test_next_rung_is_away_too_then_the_one_below_begins() -> None:
    stand = Stand()
    stand.fails()
    stand.fails("standby")
    for rung in ("primary", "standby"):
        stand.switch.leave_to_probe(rung, True)
    assert stand.begins() == {2: 1_000}
    stand.passes(17_000, good=True, rung="standby")
    assert stand.begins().keys() == {1, 2}


def test_each_rung_that_goes_is_left_for_the_next_and_each_lower_one_is_kept_warm() -> None:
    rungs = ("primary", "standby", "standby2", "standby3", "last")
    stand = Stand(Settings(trickle=10), rungs=rungs)
    assert stand.begins(400) == {0: 360, 1: 10, 2: 10, 3: 10, 4: 10}
    for below, rung in enumerate(rungs[:-1], 1):
        stand.fails(rung)
        stand.switch.leave_to_probe(rung, True)
        assert stand.begins() == {below: 1_000}
    stand.passes(17_000, good=True, rung="standby2")
    assert stand.begins().keys() == {2, 4}
    stand.passes(6_000, good=True, rung="standby2")
    assert stand.begins() == {2: 1_000}


def test_rung_comes_back_though_what_it_holds_itself_keeps_the_one_above_away() -> None:
    stand = Stand()
    for rung in ("primary", "standby"):
        stand.fails(rung)
        stand.switch.leave_to_probe(rung, True)
    stand.switch.waiting = {"primary"}
    for rung in ("primary", "standby"):
        stand.passes(60_000, good=True, rung=rung)
    assert stand.switch.away_rungs == {"primary"}
    assert stand.begins() == {1: 1_000}
    stand.switch.waiting = ()
    stand.passes(17_000, good=True)
    assert stand.switch.away_rungs == set()


def test_without_a_probe_the_traffic_tries_what_is_away_now_and_then() -> None:
    stand = Stand()
    stand.fails()
    first = stand.begins()
    assert first == {0: 1, 1: 999}
    stand.clock.at_ms += 2_000
    assert stand.begins() == {0: 1, 1: 999}


def test_standby_that_is_away_is_tried_while_the_primary_is_well() -> None:
    stand = Stand(Settings(trickle=0))
    stand.fails("standby")
    assert stand.begins() == {0: 999, 1: 1}
    for _ in range(10):
        stand.clock.at_ms += 2_000
        assert stand.switch.begin() == 1
        stand.saw(rung="standby")
        stand.switch.tick()
    assert stand.switch.states["standby"] is State.RETURNING


def test_trickle_keeps_every_rung_warm() -> None:
    stand = Stand()
    assert stand.begins(10_000) == {0: 9_990, 1: 5, 2: 5}
    assert Stand(Settings(trickle=0)).begins(10_000) == {0: 10_000}
    one = Switch(["primary", "standby", "last"], warm=["standby"], clock=stand.clock)
    assert {one.begin() for _ in range(10_000)} == {0, 1}


def test_outcome_of_an_attempt_begun_before_the_change_says_nothing() -> None:
    stand = Stand()
    before = stand.switch.epoch
    stand.fails()
    stand.passes(16_000, good=True)
    stand.saw(DOWN, epoch=before)
    assert stand.switch.state is State.RETURNING


def test_poison_diverts_nobody() -> None:
    stand = Stand()
    for _ in range(10_000):
        stand.saw(TooLarge("no"), after_ms=100)
    assert stand.switch.state is State.NORMAL


def test_standby_that_fails_while_nothing_needs_it_is_told_of() -> None:
    stand = Stand(Settings(warm_ms=60_000))
    assert not stand.switch.is_to_be_probed("standby")
    stand.clock.at_ms += 60_000
    assert stand.switch.is_to_be_probed("standby")
    assert not stand.switch.is_to_be_probed("primary")
    stand.switch.probed("standby", Overloaded("no room"), took_ms=1)
    assert (stand.switch.states["standby"], stand.switch.vote().troubles) == (State.NORMAL, {"standby": "no room"})
    assert stand.switch.is_to_be_probed("standby")  # until it is well
    stand.saw(TooLarge("no"), "standby")
    assert stand.switch.troubles
    stand.saw(None, "standby")
    assert not stand.switch.troubles
    assert not stand.switch.is_to_be_probed("standby")
    stand.saw(DOWN, "primary")
    assert not stand.switch.troubles


def test_rung_that_says_no_to_this_process_gets_no_trickle() -> None:
    stand = Stand(Settings(trickle=10))
    stand.saw(Denied("another password"), "standby")
    assert stand.switch.troubles == {"standby": "another password"}
    assert stand.begins(100) == {0: 90, 2: 10}
    stand.switch.probed("standby", None, took_ms=1)
    assert stand.begins(100) == {0: 90, 1: 5, 2: 5}


def test_rung_that_no_probe_may_try_is_doubted_until_a_message_did() -> None:
    stand = Stand()
    stand.switch.doubt("standby", "no probe may go there")
    assert stand.switch.troubles == {"standby": "no probe may go there"}
    stand.saw(None, "standby")
    stand.switch.doubt("standby", "no probe may go there")
    assert not stand.switch.troubles


def test_lane_that_is_away_is_shunned_but_for_its_trials() -> None:
    stand = Stand()
    for _ in range(10):
        batch = lane_batch(1, 2, 3, 4)
        stand.saw(partial(batch, 3), after_ms=100, messages=batch)
    assert not stand.switch.shuns()  # a trial is due
    assert stand.switch.tries(3)
    assert stand.switch.shuns() == {3}
    stand.clock.at_ms += 2_000
    assert not stand.switch.shuns()


def test_one_lane_that_fails_is_diverted_alone_and_comes_back() -> None:
    stand = Stand()
    for _ in range(10):
        batch = lane_batch(1, 2, 3, 4)
        stand.saw(partial(batch, 3), after_ms=100, messages=batch)
    assert stand.switch.state is State.NORMAL
    assert stand.switch.states["primary/3"] is State.DEGRADED
    assert set(stand.switch.away()) == {3}
    assert stand.switch.tries(3)  # at once, and then every two seconds
    assert not stand.switch.tries(3)
    assert stand.begins(10) == {0: 10}
    for _ in range(8):
        stand.clock.at_ms += 2_000
        for _ in range(100):  # batches that have nothing for it use up no trial
            assert set(stand.switch.away()) == {3}
            stand.switch.begin()
        assert stand.switch.tries(3)
        stand.saw(messages=lane_batch(1, 3))
        stand.switch.tick()
    assert stand.switch.states["primary/3"].name == "RETURNING"
    stand.clock.at_ms -= 1
    assert [stand.switch.tries(3) for _ in range(1_000)].count(True) == 10
    for _ in range(6):
        stand.saw(messages=lane_batch(3), after_ms=1_000)
        stand.switch.tick()
    assert "primary/3" not in stand.switch.states


def test_lane_whose_batches_go_in_again_is_not_diverted() -> None:
    stand = Stand()
    for i in range(100):
        batch = lane_batch(1, 2, 3, 4)
        stand.saw(None if i % 3 else partial(batch, 3), after_ms=100, messages=batch)
    assert set(stand.switch.states) == {"primary", "standby", "last"}


def test_beyond_half_of_the_lanes_the_whole_primary_is_away() -> None:
    stand = Stand()
    for _ in range(10):
        for lane in range(5):
            batch = lane_batch(5, 6, 7, lane)
            stand.saw(partial(batch, lane), after_ms=20, messages=batch)
    assert stand.switch.state is State.DEGRADED
    assert "lanes are away" in stand.switch.changes[-1].why


def test_more_than_half_of_each_batch_refused_is_the_rungs_failure() -> None:
    stand = Stand(lanes=1)
    for _ in range(10):
        batch = [make("x") for _ in range(3)]
        stand.saw(Partial([DOWN, DOWN, Position("0", 1)]), after_ms=100, messages=batch)
    assert stand.switch.state is State.DEGRADED


def test_what_is_agreed_holds_here_though_all_is_well_here() -> None:
    stand = Stand()
    stand.switch.adopt(Agreement(epoch=1, away={"primary": State.DEGRADED}, why="two of three"))
    assert stand.switch.begin() in (0, 1)
    assert stand.switch.state is State.DEGRADED
    stand.passes(40_000, good=True)
    assert stand.switch.state is State.DEGRADED  # nobody comes back alone
    assert stand.switch.vote().seen == {"primary"}
    stand.switch.adopt(Agreement(epoch=2, away={"primary": State.RETURNING}))
    assert stand.switch.state.name == "RETURNING"
    stand.switch.adopt(Agreement(epoch=3))
    assert stand.switch.state.name == "NORMAL"


def test_own_breaker_diverts_though_others_find_all_well() -> None:
    stand = Stand()
    stand.fails()
    stand.switch.adopt(Agreement(epoch=1))
    assert stand.switch.state is State.DEGRADED
    assert stand.switch.vote().away == {"primary": State.DEGRADED}


def test_pin_overrides_everything_until_it_is_released() -> None:
    stand = Stand()
    stand.fails()
    stand.switch.adopt(Agreement(epoch=1, pin=Pin("primary", "ann", "it is fine", 1)))
    assert stand.begins() == {0: 1_000}
    stand.switch.adopt(Agreement(epoch=2, pin=Pin("last", "ann", "maintenance", 1)))
    assert stand.begins() == {2: 1_000}
    stand.switch.adopt(Agreement(epoch=3, pin=Pin("no such rung", "ann", "a slip", 1)))
    stand.switch.leave_to_probe("primary", True)
    assert stand.begins() == {1: 1_000}


def test_probe_that_goes_well_hides_no_failing_traffic() -> None:
    stand = Stand()
    for _ in range(10):
        stand.saw(DOWN, after_ms=100)
        stand.switch.probed("primary", None, took_ms=1)
        assert not stand.switch.vote().seen
    assert stand.switch.state is State.DEGRADED


def test_failing_probe_alone_diverts_nobody() -> None:
    stand = Stand()
    stand.passes(100_000, good=False)
    assert stand.switch.state is State.NORMAL
