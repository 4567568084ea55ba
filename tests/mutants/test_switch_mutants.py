"""Bugs planted in what degrades and comes back by itself; each must be seen by a test that passes without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from tests.ha import test_agreement, test_breaker, test_health, test_quorum, test_quorum_anew, test_switch

from evermq.ha import health, votes
from evermq.ha.breaker import Breaker, Pace, State
from evermq.ha.health import Health
from evermq.ha.quorum import Quorum
from evermq.ha.switch import Switch

Patch = pytest.MonkeyPatch


@dataclass(frozen=True, slots=True)
class Planted:
    """A bug, and the test that must fail with it."""

    name: str
    plant: Callable[[Patch], None]
    test: Callable[[], object]


def _poison_counts(patch: Patch) -> None:
    patch.setattr(health, "tells", lambda error: True)


def _one_message_is_enough(patch: Patch) -> None:
    patch.setattr(health._Row, "breaks", lambda self, count, limits, now_ms: self.count >= count)


def _any_success_hides_failures(patch: Patch) -> None:
    saw = Health.saw

    def resetting(self: Health, *arguments: Any) -> None:
        if arguments[1] is None:
            self.reset()
        saw(self, *(*arguments[:-1], self.generation))

    patch.setattr(Health, "saw", resetting)


def _old_attempts_count(patch: Patch) -> None:
    saw = Switch.saw
    patch.setattr(Switch, "saw", lambda self, *a, epoch, **named: saw(self, *a, epoch=self.epoch, **named))


def _comes_back_on_the_first_good_probe(patch: Patch) -> None:
    def tick(self: Breaker, now_ms: int, *, clear: bool = True) -> None:
        if self.state and self._good:
            self.follow(type(self.state)(self.state - 1), now_ms)

    patch.setattr(Breaker, "tick", tick)


def _dwell_does_not_grow(patch: Patch) -> None:
    began = Breaker.__init__

    def init(self: Breaker, pace: Pace, now_ms: int) -> None:
        began(self, replace(pace, dwell_ms_max=pace.dwell_ms), now_ms)

    patch.setattr(Breaker, "__init__", init)


def _processes_vote(patch: Patch) -> None:
    tally = votes.tally
    patch.setattr(
        votes, "tally", lambda scope, said: tally(scope, [replace(v, host=str(i)) for i, v in enumerate(said)])
    )


def _waits_for_the_others(patch: Patch) -> None:
    enter = Switch._enter

    def agreed_only(self: Switch, key: str, scope: Any, state: State) -> None:
        enter(self, key, scope, self.agreed.away.get(key, State.NORMAL))

    patch.setattr(Switch, "_enter", agreed_only)


def _unreadable_means_healthy(patch: Patch) -> None:
    take = Quorum._take

    def trusting(self: Quorum, found: Any) -> None:
        self._switch.agreed = replace(self._switch.agreed, epoch=0, away={})
        take(self, found)

    patch.setattr(Quorum, "_take", trusting)


def _who_knows_less_counts(patch: Patch) -> None:
    async def never(self: Quorum, votes: Any) -> bool:
        return False

    patch.setattr(Quorum, "_is_behind", never)


def _set_up_anew() -> None:
    test_quorum_anew.test_simulated_pin_outlives_a_coordinator_that_is_set_up_anew(1)


def _forged() -> None:
    test_quorum.run("forged_and_malformed_values_are_refused_and_repaired", 1)


MUTANTS = (
    Planted("poison counts", _poison_counts, test_health.test_poison_never_trips_however_much_of_it_there_is),
    Planted(
        "one message is enough",
        _one_message_is_enough,
        test_health.test_one_message_that_fails_again_and_again_is_no_outage,
    ),
    Planted(
        "any success hides failures",
        _any_success_hides_failures,
        test_health.test_success_every_ninth_time_trips_by_the_share_of_failures,
    ),
    Planted(
        "old attempts count",
        _old_attempts_count,
        test_switch.test_outcome_of_an_attempt_begun_before_the_change_says_nothing,
    ),
    Planted(
        "back on the first good probe",
        _comes_back_on_the_first_good_probe,
        test_breaker.test_one_good_probe_and_five_quick_ones_bring_nothing_back,
    ),
    Planted(
        "the dwell does not grow",
        _dwell_does_not_grow,
        test_breaker.test_failure_on_the_way_back_is_a_relapse_and_doubles_the_dwell,
    ),
    Planted(
        "processes vote, not hosts",
        _processes_vote,
        test_agreement.test_one_sick_host_of_three_moves_nobody_however_many_processes_it_has,
    ),
    Planted(
        "a process waits for the others",
        _waits_for_the_others,
        test_switch.test_own_breaker_diverts_though_others_find_all_well,
    ),
    Planted("who knows less counts", _who_knows_less_counts, _set_up_anew),
    Planted("what cannot be read means healthy", _unreadable_means_healthy, _forged),
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_planted_bug_is_seen(mutant: Planted, monkeypatch: Patch) -> None:
    mutant.test()
    mutant.plant(monkeypatch)
    with pytest.raises(AssertionError):
        mutant.test()
