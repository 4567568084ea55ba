"""Every mend of the protocol taken out again, and the world that must notice: lost, stuck, doubled, out of order, or
flagged without need.

No barrier keeps the pumps of a host apart when a slot changes hands: a slot's counters go with it, so that whoever
begins in another slot has streams of its own. What is lost with a host needs no mend beside the sticky slot and the
proof of absence."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pytest
from tests.mutants.planted import Mutant, caught, passes

from evermq.errors import Uncertain
from evermq.ha import retained
from evermq.ha.copies import Copies
from evermq.ha.drained import Drained
from evermq.ha.failover import Failover
from evermq.ha.host_rung import HostRung
from evermq.ha.merged import Merged
from evermq.ha.retained import Retained
from evermq.numbering import land_all
from evermq.numbers import VOID
from evermq.policy import ordered
from evermq.policy.absence import Absence
from evermq.policy.flights import Flights
from evermq.policy.gate import Gate
from evermq.policy.gone import Gone
from evermq.policy.lane import Lane, Stream
from evermq.policy.ordered_reader import OrderedReader
from evermq.policy.waiting import Parked
from evermq.port import Delivery
from evermq.position import Position
from evermq.progress.memory import MemoryPart, MemoryProgress
from evermq.settled import Settled
from evermq.settling import States
from evermq.slot import HeldSlot
from evermq.testing.worlds import order_host
from evermq.testing.worlds.order_actors import Consumer
from evermq.testing.worlds.order_adoption import Slots
from evermq.testing.worlds.order_host import Ladder, SimulatedSlot
from evermq.testing.worlds.order_lanes import RelanedRung
from evermq.testing.worlds.order_rung import Rung

Patch = pytest.MonkeyPatch
_LOOK_MS = 100


def slot_is_not_sticky(patch: Patch) -> None:
    patch.setattr(Ladder, "is_sticky", lambda self: False)


def ladder_is_not_sticky(patch: Patch) -> None:
    """The ladder goes on to its upper rungs while the host's last one holds something."""
    patch.setattr(Failover, "_order", lambda self: self._steered(self._keys))


def all_lanes_share_a_window(patch: Patch) -> None:
    """A reader that holds four messages, of whichever lanes, reads nothing more."""
    real = OrderedReader._take_in

    async def take_in(self: OrderedReader, count_max: int) -> None:
        if self.holding < 4:
            await real(self, count_max)
        else:
            await self._clock.sleep(_LOOK_MS)  # else it would look again for ever without a moment's passing

    patch.setattr(OrderedReader, "_take_in", take_in)


def dead_letter_settles_nothing(patch: Patch) -> None:
    """It is acknowledged where it lay, and the progress of its group does not hear of it."""
    buried: set[Any] = set()
    real = OrderedReader.ack

    def bury(self: Consumer, delivery: Delivery) -> bool:
        buried.add(delivery.receipt)
        return True

    async def ack(self: OrderedReader, deliveries: Sequence[Delivery]) -> None:
        await self._inner.ack([each.receipt.inner for each in deliveries if each.receipt in buried])
        await real(self, [each for each in deliveries if each.receipt not in buried])

    patch.setattr(Consumer, "_bury", bury)
    patch.setattr(OrderedReader, "ack", ack)


def refused_number_has_no_void(patch: Patch) -> None:
    real = Flights._settle

    def settle(self: Flights, rows: Any, outcomes: Any, heard: Any) -> None:
        real(self, rows, outcomes, heard)
        for row in rows:
            if VOID in row.message.headers:
                row.landed = Position("0", 0)

    patch.setattr(Flights, "_settle", settle)


def uncertain_number_is_given_up(patch: Patch) -> None:
    real = Flights._settle

    def settle(self: Flights, rows: Any, outcomes: Sequence[Any], heard: Any) -> None:
        real(self, rows, outcomes, heard)
        for row, outcome in zip(rows, outcomes, strict=True):
            if isinstance(outcome, Uncertain):
                row.landed, row.call = Position("0", 0), None

    patch.setattr(Flights, "_settle", settle)


def pump_sends_no_void(patch: Patch) -> None:
    patch.setattr(order_host, "void_of", lambda message: message._replace(body=b"", headers={}))


def mark_is_apart_from_the_effect(patch: Patch) -> None:
    patch.setattr(MemoryProgress, "settle", lambda self, delivery: True)


def settled_numbers_are_forgotten(patch: Patch) -> None:
    real = Settled.__contains__
    patch.setattr(Settled, "__contains__", lambda self, seq: seq >= self.next - 4 and real(self, seq))


def absence_is_never_proved(patch: Patch) -> None:
    async def prove(self: Absence, reports: Any) -> list[Lane]:
        return []

    patch.setattr(Absence, "prove", prove)


def absence_reads_to_no_end(patch: Patch) -> None:
    async def read(self: Absence, search: Any, reports: Any) -> set[str]:
        return set(self._rungs)

    patch.setattr(Absence, "_read_to_the_end", read)


def lanes_are_taken_to_divide_those_of_the_numbers(patch: Patch) -> None:
    patch.setattr(Absence, "_together", lambda self, stream: set(self._rungs))


def counters_die_with_the_process(patch: Patch) -> None:
    patch.setattr(SimulatedSlot, "memory", lambda self, size_bytes: memoryview(bytearray(size_bytes)))


def numbers_under_way_are_not_voided(patch: Patch) -> None:
    patch.setattr(ordered, "voids_in_flight", lambda memory: [])


def adopter_sends_no_void(patch: Patch) -> None:
    async def void(self: HostRung, slot: HeldSlot) -> None:
        land_all(slot.memory(0))

    patch.setattr(HostRung, "_void", void)


def numbers_go_on_in_another_slot(patch: Patch) -> None:
    """A producer begins in a new slot with the counters of one that is being adopted."""
    real = Slots.own

    async def own(self: Slots) -> HeldSlot:
        count = len(self._disks)
        held = await real(self)
        adopted = [disk for disk in self._disks[:count] if disk.holder and disk.adoptions and disk.memory]
        if len(self._disks) > count and adopted:
            self._disks[-1].memory = bytearray(adopted[-1].memory)
        return held

    patch.setattr(Slots, "own", own)


def every_reader_handles_every_lane(patch: Patch) -> None:
    async def claim(self: MemoryPart, lanes: Collection[int]) -> States:
        for lane in lanes:
            self._group.owners[lane] = self
        return {lane: self._packed(lane) for lane in lanes}

    patch.setattr(MemoryPart, "claim", claim)


def groups_share_what_is_settled(patch: Patch) -> None:
    real = MemoryProgress.join
    patch.setattr(MemoryProgress, "join", lambda self, group: real(self, "all"))


def ends_are_told_of_lanes_that_were_changed(patch: Patch) -> None:
    patch.setattr(RelanedRung, "end", Rung.end)


def silent_reader_keeps_its_claims(patch: Patch) -> None:
    patch.setattr(MemoryPart, "_is_gone", lambda self, other: other._left)


def released_message_leaves_its_successors(patch: Patch) -> None:
    real = Gate.release

    def release(self: Gate, *args: Any) -> Any:
        self._has_order = False
        try:
            return real(self, *args)
        finally:
            self._has_order = True

    patch.setattr(Gate, "release", release)


def copies_are_dropped_and_nothing_is_held(patch: Patch) -> None:
    """Recognising doubles alone."""
    real = Gate._pass

    def pass_(self: Gate, lane: Lane, stream: Stream, parked: Parked, ready: list[Delivery]) -> bool:
        self._has_order = False
        return real(self, lane, stream, parked, ready)

    patch.setattr(Gate, "_pass", pass_)


def several_appends_of_a_lane_are_under_way(patch: Patch) -> None:
    class Never(set[int]):
        def isdisjoint(self, other: object) -> bool:
            return True

        def __contains__(self, lane: object) -> bool:
            return False

    real = Flights.__init__

    def init(self: Flights, *args: Any, **settings: Any) -> None:
        real(self, *args, **settings)
        self._busy = Never()

    patch.setattr(Flights, "__init__", init)


def what_comes_again_is_not_held(patch: Patch) -> None:
    real = Gate._park

    def park(self: Gate, lane: Lane, parked: Parked) -> None:
        if parked.delivery.position not in [each.delivery.position for each in lane.parked]:
            real(self, lane, parked)

    patch.setattr(Gate, "_park", park)


def settled_during_a_write_is_forgotten(patch: Patch) -> None:
    async def write(self: OrderedReader, lanes: Any = None) -> None:
        async with self._writing:
            every = self._gate.lanes.values() if lanes is None else [self._gate.lanes[number] for number in lanes]
            taken = [(lane, set(lane.changed)) for lane in every if lane.changed]
            if taken:
                await self._part.settle({n.number: {s.name: s.settled.pack() for s in some} for n, some in taken})
                for lane, streams in taken:
                    lane.changed -= streams

    patch.setattr(OrderedReader, "_write", write)


def what_was_settled_too_late_is_kept(patch: Patch) -> None:
    patch.setattr(Gate, "unwritten", lambda self, tickets: [])


def lost_lanes_are_not_heard_of(patch: Patch) -> None:
    patch.setattr(MemoryPart, "_fence", lambda self: None)


def ladder_returns_while_much_is_left_below(patch: Patch) -> None:
    patch.setattr(Drained, "saw", lambda self, backlogs, now_ms: True)


def what_went_back_is_soon_forgotten(patch: Patch) -> None:
    """Half a minute is counted although the rung that has it is down."""
    patch.setattr(Gone, "keep", lambda self, now_ms: None)


def what_a_rung_says_is_ignored(patch: Patch) -> None:
    """Half a minute is counted although the rung says that it has yet to give it."""
    patch.setattr(Gone, "tell", lambda self, lane, left, now_ms: None)


def nothing_is_retained(patch: Patch) -> None:
    async def keep(self: Retained, messages: Sequence[Any]) -> None:
        return

    patch.setattr(Retained, "keep", keep)


def copies_are_settled_at_once(patch: Patch) -> None:
    patch.setattr(Retained, "_is_needed", lambda self, copy: False)


def copies_of_the_dead_are_left(patch: Patch) -> None:
    async def adopt(self: Copies) -> None:
        return

    patch.setattr(Copies, "adopt", adopt)


def readers_hear_of_no_copies(patch: Patch) -> None:
    patch.setattr(retained, "spans", lambda window, now_ms: [])


def groups_share_a_window_of_copies(patch: Patch) -> None:
    """Nothing more is read back for any while one of them is full."""
    real = Copies.fill

    async def fill(self: Copies) -> None:
        if all(len(window.copies) < self._window_count_max for window in self.windows.values()):
            await real(self)

    patch.setattr(Copies, "fill", fill)


def all_read_what_is_handed_to_anybody(patch: Patch) -> None:
    patch.setattr(Merged, "pause", lambda self, keys: [])


MUTANTS = [
    Mutant(
        "what went back is soon forgotten", "flagged", "order-back-late", what_went_back_is_soon_forgotten, 60, first=24
    ),
    Mutant(
        "what a rung has yet to give is forgotten", "flagged", "order-back-slow", what_a_rung_says_is_ignored, first=6
    ),
    Mutant("nothing is retained", "lost", "order-retained", nothing_is_retained),
    Mutant("copies are settled at once", "lost", "order-retained", copies_are_settled_at_once),
    Mutant("copies of the dead are left", "stuck", "order-retained", copies_of_the_dead_are_left),
    Mutant("readers hear of no copies", "out of order", "order-retained", readers_hear_of_no_copies, first=7),
    Mutant("groups share a window of copies", "lost", "order-retained-idle", groups_share_a_window_of_copies),
    Mutant("slot is not sticky", "stuck", "order-pumped", slot_is_not_sticky),
    Mutant("ladder is not sticky", "flagged", "order-adopted", ladder_is_not_sticky),
    Mutant("all lanes share a window", "stuck", "order-rebalances", all_lanes_share_a_window),
    Mutant("dead letter settles nothing", "stuck", "order-dead-letters", dead_letter_settles_nothing),
    Mutant("refused number has no void", "stuck", "order-refused", refused_number_has_no_void),
    Mutant("uncertain number is given up", "stuck", "order-nothing-left", uncertain_number_is_given_up),
    Mutant("pump sends no void", "stuck", "order-dead-letters", pump_sends_no_void),
    Mutant("mark is apart from the effect", "doubled", "order-effects", mark_is_apart_from_the_effect, 120, first=14),
    Mutant("settled numbers are forgotten", "doubled", "order-long-outage", settled_numbers_are_forgotten),
    Mutant("absence is never proved: lost", "stuck", "order-tail-lost", absence_is_never_proved, first=5),
    Mutant("absence is never proved: progress", "stuck", "order-progress-lost", absence_is_never_proved),
    Mutant("absence is never proved: late", "stuck", "order-late-group", absence_is_never_proved),
    Mutant("absence reads to no end", "flagged", "order-windows", absence_reads_to_no_end, first=9),
    Mutant("lanes of any rung divide", "flagged", "order-late-rung", lanes_are_taken_to_divide_those_of_the_numbers),
    Mutant("counters die with the process", "order", "order-restarts", counters_die_with_the_process, first=12),
    Mutant(
        "numbers under way are not voided", "stuck", "order-restarts", numbers_under_way_are_not_voided, 120, first=26
    ),
    Mutant("adopter sends no void", "flagged", "order-adopted", adopter_sends_no_void),
    Mutant("numbers go on in another slot", "lost", "order-adopted", numbers_go_on_in_another_slot, first=7),
    Mutant("every reader handles every lane", "order", "order-rebalances", every_reader_handles_every_lane),
    Mutant("groups share what is settled", "lost", "order-groups", groups_share_what_is_settled),
    Mutant("ends of changed lanes", "flagged", "order-lanes", ends_are_told_of_lanes_that_were_changed),
    Mutant("silent reader keeps its claims", "stuck", "order-effects", silent_reader_keeps_its_claims),
    Mutant("released leaves its successors", "order", "order-ladder", released_message_leaves_its_successors),
    Mutant("copies are dropped, nothing is held", "order", "order-windows", copies_are_dropped_and_nothing_is_held),
    Mutant("several appends of a lane", "stuck", "order-in-flight", several_appends_of_a_lane_are_under_way),
    Mutant("a hold is of its generation", "stuck", "order-rebalances", what_comes_again_is_not_held),
    Mutant("settled during a write", "stuck", "order-store", settled_during_a_write_is_forgotten, 60, first=11),
    Mutant("settled as the lane was lost", "stuck", "order-cut-off", what_was_settled_too_late_is_kept, first=12),
    Mutant("lost lanes in silence", "stuck", "order-cut-off", lost_lanes_are_not_heard_of),
    Mutant("all read what is scattered", "went to another", "order-piled-up", all_read_what_is_handed_to_anybody),
    Mutant("return with a deep backlog", "held", "order-return", ladder_returns_while_much_is_left_below),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_world_sees_the_mend_that_is_missing(mutant: Mutant) -> None:
    seed = caught(mutant)
    assert seed, f"{mutant.name}: {mutant.world} sees nothing in {mutant.seeds_max} seeds"
    assert passes(mutant.world, seed)
