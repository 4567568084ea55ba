"""What goes wrong in a simulated world, and when."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from evermq.testing.faulty import Fault, Verb
from evermq.testing.worlds.composite_process import Process, Sender, Story
from evermq.testing.worlds.composite_site import Site
from evermq.testing.worlds.composite_tree import SLOTS

__all__ = ["STORM", "Weather"]

STORM = {
    Verb.APPEND: tuple(Fault),
    Verb.READ: (Fault.REFUSE, Fault.LOSE, Fault.FORGET, Fault.DELAY, Fault.HANG),
    Verb.ACK: (Fault.REFUSE, Fault.LOSE, Fault.FORGET, Fault.LATE, Fault.DELAY, Fault.HANG),
    Verb.ADMIN: (Fault.REFUSE, Fault.DELAY, Fault.HANG),
}
# After these everybody knows what happened, so nothing may come twice.
_BREEZE = {Verb.APPEND: (Fault.REFUSE, Fault.REJECT, Fault.SPLIT), Verb.READ: (Fault.REFUSE,)}
_LENGTHS_MS = (300, 800, 2_000)


class Weather:
    """sites: what may be struck, the more often it is named the sooner. gentle: only faults with a certain outcome,
    and no crashes. `seen`: how often each thing happened."""

    def __init__(self, story: Story, sites: Sequence[Site], processes: Sequence[Process], *, gentle: bool) -> None:
        self._story = story
        self._clock = story.clock
        self._chance = story.clock.random
        self._sites = sites
        self._processes = processes
        self._gentle = gentle
        self.seen: Counter[str] = Counter()

    async def blow(self, rounds: int) -> None:
        """So many troubles, one after the other and sometimes two at once."""
        storm = (self._storm, 10)
        troubles = [storm, (self._choose, 3)]
        if not self._gentle:
            troubles += [(self._out, 4), (self._crash, 5), (self._kill, 4)]
            troubles += [(self._outage, 6)] if any(site.name in SLOTS for site in self._sites) else []
        under_way: list[asyncio.Task[None]] = []
        for _ in range(rounds):
            act = self._chance.choices([each for each, _ in troubles], [weight for _, weight in troubles])[0]
            under_way.append(asyncio.create_task(act()))
            if self._chance.random() < 0.6:
                await under_way[-1]
            await self._clock.sleep(self._chance.choice((0, 50, 200)))
        for task in under_way:
            await task

    def count_bites(self) -> None:
        """Add up what the faults of all sites have done."""
        for site in dict.fromkeys(self._sites):
            for (verb, fault), count in site.faulty.bitten.items():
                self.seen[f"{verb.value} {fault.name.lower()}"] += count

    async def _storm(self) -> None:
        """Calls of one site, or of two, fail by chance, for a while."""
        sites = self._chance.sample(self._sites, min(len(self._sites), self._chance.choice((1, 2))))
        for site in sites:
            for verb, faults in (_BREEZE if self._gentle else STORM).items():
                if verb is Verb.APPEND or self._chance.random() < 0.5:
                    # A local log of the process itself does nothing after it has answered.
                    faults = tuple(fault for fault in faults if fault is not Fault.LATE or site.name not in SLOTS)
                    chosen = self._chance.sample(faults, self._chance.randint(1, min(3, len(faults))))
                    site.rates[verb].update({fault: self._chance.choice((0.1, 0.3)) for fault in chosen})
        await self._for_a_while("storm", *sites)

    async def _out(self) -> None:
        """A site refuses everything, or answers nothing, for a while."""
        site = self._chance.choice(self._sites)
        if self._chance.random() < 0.5:
            site.faulty.down()
        else:
            site.faulty.hang()
        await self._for_a_while("out", site)

    async def _outage(self) -> None:
        """All rungs but the last are away, and a process dies that has put something there."""
        rungs = [site for site in dict.fromkeys(self._sites) if site.name not in SLOTS]
        for site in rungs:
            site.faulty.down()
        self._happens("outage", "")
        await self._clock.sleep(self._chance.choice(_LENGTHS_MS))
        await self._crash()
        for site in rungs:
            site.heal()
        self._story.tell("fault_off", detail="outage")

    async def _for_a_while(self, what: str, *sites: Site) -> None:
        where = ", ".join(site.name for site in sites)
        self._happens(what, where)
        await self._clock.sleep(self._chance.choice(_LENGTHS_MS))
        for site in sites:
            site.heal()
        self._story.tell("fault_off", detail=f"{what} {where}")

    async def _crash(self) -> None:
        """A process dies and another one takes its place; its producer may be remembered, or a new one begins."""
        process = self._chance.choice(self._processes)
        if process.built is None:
            return
        self._happens("crash", process.name)
        await process.crash()
        sender = process.sender
        if sender and self._chance.random() < 0.4:
            process.sender = Sender(f"{sender.name}+", sender.batches_max, sender.patient, sender.batches)
        await self._clock.sleep(self._chance.choice((0, 100, 600)))
        await process.boot()

    async def _kill(self) -> None:
        """An engine is killed, or its machine loses power."""
        mortal = [site for site in self._sites if site.engine.is_mortal]
        if mortal:
            site = self._chance.choice(mortal)
            power = self._chance.random() < 0.5
            if power and site.name in SLOTS:
                # The machine's power takes its processes too, and after it no mark is trusted.
                power = site.slot.holder is None or site.slot.holder.is_gone
                site.slot.is_empty = site.slot.is_empty and not power
            self._happens("power cut" if power else "kill", site.name)
            await site.engine.kill(power=power)

    async def _choose(self) -> None:
        """Somebody changes the choice in one process; the others do not know."""
        built = self._chance.choice(self._processes).built
        if built and built.choices:
            self._happens("choice", "")
            self._chance.choice(built.choices).set(self._chance.randrange(3))

    def _happens(self, what: str, where: str) -> None:
        self.seen[what] += 1
        self._story.tell("fault_on", detail=f"{what} {where}")
