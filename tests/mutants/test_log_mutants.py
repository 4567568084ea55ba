"""Bugs planted in the embedded log, one for each rule that its worlds must be able to see broken."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.mutants.planted import Mutant, caught, passes

from evermq.testing.simulation.disk import FakeDisk


def no_directory_sync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(FakeDisk, "sync_names", lambda self: None)


MUTANTS = [
    Mutant("no directory sync", "L2", "log-crash-always", no_directory_sync),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_planted_bug_is_caught(mutant: Mutant, record_property: Callable[[str, object], None]) -> None:
    seed = caught(mutant)
    record_property("caught_by_seed", seed)
    assert seed, f"{mutant.world} plays {mutant.seeds_max} seeds and does not notice: {mutant.name}"
    assert passes(mutant.world, seed)
