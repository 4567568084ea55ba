"""The verdict over a history: PASS, FAIL, or INVALID where the run did not show what it was meant to show.

Rules, after Jepsen's total-queue checker and TigerBeetle's habit to tell a run in which the fault never bit from one
that passed:

lost                  acknowledged, and neither handled nor dead-lettered by a group; where an independent reader looked
                      into the stores afterwards, told apart: still in a store, or gone on the way
phantom               delivered, dead-lettered or stored, but never sent, or with another body
failed_but_delivered  the sender was told that it was certainly not appended, and it is there all the same
stranded              found behind in some queue when everything was over
duplicates_raw        deliveries beyond the first
duplicates_business   effects beyond the first; of what its application sent again, as one does that was killed before
                      it heard of an outcome, effects beyond as many as it sent
inversions            effects of a (producer, key) out of the order in which it sent
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from evermq.testing.history import Event

__all__ = ["RULES", "Expect", "Verdict", "check"]

ALWAYS = ("lost", "phantom", "failed_but_delivered", "stranded")
PROMISED = ("duplicates_raw", "duplicates_business", "inversions")
RULES = (*ALWAYS, *PROMISED)
_EXAMPLES_MAX = 10


@dataclass(frozen=True, slots=True)
class Expect:
    """forbid: rules of PROMISED that the queue promises to keep. The rest is what must have happened, or the run
    proves nothing: acknowledged sends, deliveries by way of each child, faults, raw duplicates, unknown outcomes,
    switches from one child to another. groups: those that must handle every message, beside those that were seen."""

    forbid: frozenset[str] = frozenset()
    acknowledged_min: int = 1
    via_min: dict[str, int] = field(default_factory=dict)
    faults_min: int = 0
    duplicates_raw_min: int = 0
    unknown_min: int = 0
    switches_min: int = 0
    groups: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if wrong := self.forbid - set(PROMISED):
            raise ValueError(f"forbid = {sorted(wrong)}: these can be forbidden: {', '.join(PROMISED)}")


@dataclass(slots=True)
class Verdict:
    """verdict: PASS, FAIL or INVALID. counts: by rule. examples: the first few of each. recovered: unknown to their
    senders, and handled. lost_in_store, lost_on_the_way: of the lost, where an independent reader looked."""

    verdict: str
    counts: Counter[str]
    examples: dict[str, list[str]]
    reasons: list[str]
    sent: int = 0
    acknowledged: int = 0
    uncertain: int = 0
    handled: int = 0
    recovered: int = 0
    lost_in_store: int = 0
    lost_on_the_way: int = 0

    def __str__(self) -> str:
        found = ", ".join(f"{rule} {self.counts[rule]}" for rule in RULES)
        why = f" ({'; '.join(self.reasons)})" if self.reasons else ""
        return (
            f"{self.verdict}{why}: sent {self.sent}, acknowledged {self.acknowledged}, "
            f"handled {self.handled}, uncertain {self.uncertain}, of which recovered {self.recovered}; {found}"
        )


class _Books:
    """What is known of every message, kept while the events pass by in the order of their times."""

    def __init__(self) -> None:
        self.sent: dict[str, Event] = {}
        self.invoked: Counter[str] = Counter()
        self.outcome: dict[str, str] = {}
        self.delivered: Counter[tuple[str, str]] = Counter()
        self.handled: Counter[tuple[str, str]] = Counter()
        self.settled: set[tuple[str, str]] = set()
        self.groups: set[str] = set()
        self.last: dict[tuple[str, str, str], int] = {}
        self.via: Counter[str] = Counter()
        self.faults = 0
        self.switches = 0
        self.audited: dict[str, str] = {}
        self.has_audit = False
        self.examples: dict[str, list[str]] = {rule: [] for rule in RULES}
        self.counts: Counter[str] = Counter()

    def flag(self, rule: str, text: str) -> None:
        self.counts[rule] += 1
        if len(self.examples[rule]) < _EXAMPLES_MAX:
            self.examples[rule].append(text)

    def take(self, event: Event) -> None:
        match event.ev:
            case "send_invoke":
                self.sent.setdefault(event.id, event)
                self.invoked[event.id] += 1
            case "send_ok" | "send_unknown" | "send_fail":
                self._outcome(event)
            case "deliver":
                self._deliver(event)
            case "handler_ok":
                self._handle(event)
            case "dead":
                self.groups.add(event.group)
                self.settled.add((event.group, event.id))
                self._check_sent(event, "was dead-lettered")
            case "audit":
                self.has_audit = True
                if event.id:  # without one it says that it looked, and found nothing
                    self.audited[event.id] = event.via or "a store"
                    self._check_sent(event, f"is stored in {event.via or 'a store'}")
            case "switch":
                self.switches += 1
            case "left":
                self.flag("stranded", f"{event.id or event.detail} was left in {event.via or event.group}")
            case "fault_on" | "crash":
                self.faults += 1

    def _outcome(self, event: Event) -> None:
        """Acknowledged once is acknowledged; unknown once is unknown until it is acknowledged."""
        rank = {"send_fail": 0, "send_unknown": 1, "send_ok": 2}
        if rank[event.ev] >= rank[self.outcome.get(event.id, "send_fail")]:
            self.outcome[event.id] = event.ev

    def _check_sent(self, event: Event, what: str) -> None:
        sent = self.sent.get(event.id)
        if sent is None:
            self.flag("phantom", f"{event.id} {what} and was never sent")
        elif event.sha and sent.sha and event.sha != sent.sha:
            self.flag("phantom", f"{event.id} {what} with another body ({event.sha}, sent {sent.sha})")

    def _deliver(self, event: Event) -> None:
        self.groups.add(event.group)
        self.via[event.via] += 1
        self._check_sent(event, f"was delivered to {event.group or 'a group'}")
        seen = self.delivered[event.group, event.id]
        self.delivered[event.group, event.id] += 1
        if seen:
            self.flag("duplicates_raw", f"{event.id} was delivered {seen + 1} times")

    def _handle(self, event: Event) -> None:
        key = (event.group, event.id)
        self.groups.add(event.group)
        self.settled.add(key)
        self.handled[key] += 1
        if self.handled[key] > 1:
            if self.handled[key] > self.invoked[event.id]:
                self.flag("duplicates_business", f"{event.id} took effect {self.handled[key]} times")
            return
        sent = self.sent.get(event.id)
        if sent is None:
            if not self.delivered[key]:
                self.flag("phantom", f"{event.id} took effect and was never sent")
            return
        if sent.key:
            stream = (event.group, sent.producer, sent.key)
            if sent.kseq < self.last.get(stream, -1):
                self.flag("inversions", f"{event.id}: number {sent.kseq} of key {sent.key} after {self.last[stream]}")
            self.last[stream] = max(sent.kseq, self.last.get(stream, -1))


def check(events: Iterable[Event], expect: Expect | None = None) -> Verdict:
    """Judge events that are in the order of their times; `send_invoke` comes before everything else of its id."""
    expect = expect or Expect()
    books = _Books()
    for event in events:
        books.take(event)
    groups = (books.groups | expect.groups) or {""}
    acknowledged = [id for id, outcome in books.outcome.items() if outcome == "send_ok"]
    lost = [(id, group) for id in acknowledged for group in groups if (group, id) not in books.settled]
    for id, group in lost:
        books.flag("lost", f"{id} was acknowledged and {_whereabouts(books, id, group)}")
    for id, outcome in books.outcome.items():
        if outcome == "send_fail" and (
            id in books.audited or any(books.delivered[group, id] or (group, id) in books.settled for group in groups)
        ):
            books.flag("failed_but_delivered", f"{id} was refused for certain and is there all the same")
    verdict = _verdict(books, expect, acknowledged)
    if books.has_audit:
        verdict.lost_in_store = sum(id in books.audited for id, _ in lost)
        verdict.lost_on_the_way = len(lost) - verdict.lost_in_store
    return verdict


def _whereabouts(books: _Books, id: str, group: str) -> str:
    where = "delivered, but never handled by" if books.delivered[group, id] else "never delivered to"
    if id in books.audited:
        return f"{where} {group or 'anybody'}; it is still in {books.audited[id]}"
    return f"{where} {group or 'anybody'}{'; it is in no store' if books.has_audit else ''}"


def _verdict(books: _Books, expect: Expect, acknowledged: list[str]) -> Verdict:
    unknown = [id for id in books.sent if books.outcome.get(id, "send_unknown") == "send_unknown"]
    handled = {id for _, id in books.handled}
    broken = [rule for rule in (*ALWAYS, *sorted(expect.forbid)) if books.counts[rule]]
    unmet = _unmet(books, expect, len(acknowledged), len(unknown))
    return Verdict(
        "FAIL" if broken else "INVALID" if unmet else "PASS",
        books.counts,
        books.examples,
        broken or unmet,
        sent=len(books.sent),
        acknowledged=len(acknowledged),
        uncertain=len(unknown),
        handled=len(handled),
        recovered=sum(id in handled for id in unknown),
    )


def _unmet(books: _Books, expect: Expect, acknowledged: int, unknown: int) -> list[str]:
    """What should have happened and did not."""
    wanted = [
        ("acknowledged", acknowledged, expect.acknowledged_min),
        ("faults", books.faults, expect.faults_min),
        ("raw duplicates", books.counts["duplicates_raw"], expect.duplicates_raw_min),
        ("unknown outcomes", unknown, expect.unknown_min),
        ("switches", books.switches, expect.switches_min),
        *((f"deliveries via {via or 'the queue'}", books.via[via], least) for via, least in expect.via_min.items()),
    ]
    return [f"only {found} {what}, {least} were to happen" for what, found, least in wanted if found < least]
