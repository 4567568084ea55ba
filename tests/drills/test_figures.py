"""Figures of drills, from histories made by hand."""

import pytest

from evermq.drills.figures import measure
from evermq.testing.history import Event

S = 1_000_000_000


def sends(producer: str, *sent: tuple[float, float, str]) -> list[Event]:
    events = []
    for begun, ended, rung in sent:
        id = f"{producer}-{begun}"
        events.append(Event(round(begun * S), "send_invoke", id=id, producer=producer))
        events.append(Event(round(ended * S), "send_ok", id=id, via=rung))
    return events


def history(*parts: list[Event]) -> list[Event]:
    own = [Event(0, "start"), Event(10 * S, "fault_on"), Event(20 * S, "fault_off"), Event(40 * S, "stop")]
    return sorted([*own, *(event for part in parts for event in part)], key=lambda event: event.t)


def test_last_sender_to_leave_and_the_last_one_back_count() -> None:
    quick = sends("a", (9, 9.1, "primary"), (10, 10.5, "standby"), (21, 21.1, "primary"), (22, 22.1, "primary"))
    slow = sends(
        "b",
        (9, 9.1, "primary"),
        (10, 12, "standby"),
        (22, 22.1, "standby"),
        (23, 23.5, "standby"),
        (24, 24.5, "primary"),
        (25, 25.1, "primary"),
    )
    figures = measure(history(quick, slow))
    assert figures.flip_s == 2
    assert figures.return_s == 4.5
    assert figures.stall_max_s == 2
    assert figures.through == {"primary": 6, "standby": 4}


def test_sender_that_never_came_back_makes_the_return_unknown() -> None:
    back = sends("a", (10, 10.5, "standby"), (21, 21.1, "primary"), (22, 22.1, "primary"))
    away = sends("b", (10, 10.5, "standby"), (21, 21.1, "standby"))
    assert measure(history(back, away)).return_s is None


def test_send_that_began_before_the_flip_is_a_stall_and_not_in_the_p99_of_the_outage() -> None:
    figures = measure(history(sends("a", (5, 5.1, "primary"), (9.9, 11, "standby"), (12, 12.002, "standby"))))
    assert figures.send_p99_ms["healthy"] == 100
    assert figures.send_p99_ms["outage"] == 2
    assert figures.send_p99_ms["return"] is None
    assert round(figures.stall_max_s, 3) == 1.1


def away(producer: str, t: float) -> list[Event]:
    return [Event(round(t * S), "switch", proc=producer, detail="primary is degraded")]


def test_sender_has_left_when_it_says_that_the_primary_is_away() -> None:
    passed_over = (10, 10.8, "standby"), (11, 11.8, "standby"), (13, 13.002, "standby")
    late = [Event(25 * S, "switch", proc="a", detail="primary is degraded")]
    figures = measure(history(sends("a", *passed_over), away("a", 12), late, sends("b", (10, 10.5, "standby"))))
    assert figures.flip_s == 2
    assert figures.send_p99_ms["outage"] == 2


def test_lane_that_is_away_does_not_make_a_sender_leave() -> None:
    lane = [Event(12 * S, "switch", proc="a", detail="primary/3 is degraded")]
    assert measure(history(sends("a", (10, 10.5, "standby")), lane)).flip_s == 0.5


def test_sends_during_the_heal_are_of_the_return() -> None:
    heal = [Event(15 * S, "heal")]
    sent = sends("a", (10, 10.5, "standby"), (12, 12.002, "standby"), (16, 16.3, "standby"), (24, 24.1, "primary"))
    figures = measure(history(sent, heal))
    assert figures.send_p99_ms["outage"] == 2
    assert figures.send_p99_ms["return"] == 300


def test_message_that_a_restarted_sender_sends_again_began_with_its_second_try() -> None:
    tries = [Event(11 * S, "send_invoke", id="x", producer="producer-0")]
    kill = [Event(12 * S, "crash", detail="kill -9 producer-0"), Event(13 * S, "recover", detail="producer-0 is back")]
    again = [
        Event(15 * S, "send_invoke", id="x", producer="producer-0"),
        Event(16 * S, "send_ok", id="x", via="standby"),
    ]
    figures = measure(history(tries, kill, again))
    assert figures.stall_max_s == 1
    assert figures.restart_max_s == 3


@pytest.mark.parametrize("end", ["send_fail", "send_unknown"])
def test_send_that_was_not_acknowledged_is_a_stall_and_nothing_else(end: str) -> None:
    tried = [
        Event(11 * S, "send_invoke", id="x", producer="a"),
        Event(15 * S, end, id="x", detail="no answer"),
    ]
    figures = measure(history(sends("a", (10, 10.5, "standby"), (16, 16.002, "standby")), tried))
    assert figures.stall_max_s == 4
    assert figures.flip_s == 0.5
    assert figures.send_p99_ms["outage"] == 2
    assert figures.through == {"standby": 2}


def test_worst_of_several_cycles_counts() -> None:
    events = history(
        sends("a", (10, 10.5, "standby"), (21, 21.1, "primary"), (30, 33, "standby"), (36, 36.1, "primary"))
    )
    events += [Event(30 * S, "fault_on"), Event(35 * S, "fault_off")]
    figures = measure(sorted(events, key=lambda event: event.t))
    assert [cycle.flip_s for cycle in figures.cycles] == [0.5, 3]
    assert figures.flip_s == 3


def test_batch_that_tries_the_primary_or_keeps_the_standby_warm_is_no_return_and_no_relapse() -> None:
    tries = [(21, 21.1, "standby"), (22, 22.1, "standby"), (23, 23.1, "primary"), (24, 24.1, "standby")]
    stays = [(25, 25.1, "standby"), (26, 26.5, "primary"), (27, 27.1, "primary"), (28, 28.1, "standby")]
    figures = measure(history(sends("a", (10, 10.5, "standby"), *tries, *stays, (29, 29.1, "primary"))))
    assert figures.return_s == 6.5
