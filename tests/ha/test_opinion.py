"""What one process says of a rung, to those who decide for all."""

from tests.ha.test_switch import DOWN, Stand

from evermq.ha.agreement import Agreement
from evermq.ha.breaker import State


def test_one_that_comes_back_later_than_the_others_says_nothing_against_it_while_all_it_sees_is_well() -> None:
    stand = Stand()
    stand.fails()
    stand.switch.adopt(Agreement(epoch=1, away={"primary": State.DEGRADED}))
    stand.passes(2_000, good=True)
    assert stand.switch.vote().away == {"primary": State.DEGRADED}  # it is what keeps all away
    stand.switch.adopt(Agreement(epoch=2, away={"primary": State.RETURNING}))
    assert stand.switch.vote().away == {"primary": State.RETURNING}
    stand.switch.adopt(Agreement(epoch=3))
    assert stand.switch.state is State.DEGRADED
    assert stand.switch.vote().away == {"primary": State.RETURNING}
    stand.passes(1_000, good=False)
    assert stand.switch.vote().away == {"primary": State.DEGRADED}


def test_one_that_left_by_itself_says_so_though_its_probes_go_well() -> None:
    stand = Stand()
    stand.fails()
    stand.passes(5_000, good=True)  # the traffic failed, and a probe has a topic of its own
    assert stand.switch.vote().away == {"primary": State.DEGRADED}
    stand.switch.adopt(Agreement(epoch=1, away={"primary": State.DEGRADED}))
    stand.switch.adopt(Agreement(epoch=2))
    assert stand.switch.vote().away == {"primary": State.RETURNING}
    stand.passes(20_000, good=True)
    stand.fails()
    stand.passes(5_000, good=True)
    assert stand.switch.vote().away == {"primary": State.DEGRADED}


def test_one_that_came_back_by_its_probes_goes_on_to_say_that_all_is_well() -> None:
    stand = Stand()
    stand.switch.adopt(Agreement(epoch=1, away={"primary": State.DEGRADED}))
    stand.passes(40_000, good=True)
    for agreed in (Agreement(epoch=2, away={"primary": State.RETURNING}), Agreement(epoch=3)):
        stand.switch.adopt(agreed)
        assert stand.switch.vote().seen == {"primary"}
    stand.fails()
    assert not stand.switch.vote().seen


def test_one_that_has_tried_nothing_lately_has_nothing_to_say() -> None:
    stand = Stand()
    stand.saw()
    assert stand.switch.vote().seen == {"primary"}
    stand.saw(DOWN)
    assert not stand.switch.vote().seen
    stand.saw()
    stand.clock.at_ms += 11_000
    assert not stand.switch.vote().seen
    stand.switch.adopt(Agreement(epoch=1, away={"primary": State.DEGRADED}))
    assert not stand.switch.vote().away
