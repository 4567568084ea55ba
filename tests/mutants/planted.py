"""Planted bugs: product code made wrong on purpose, and the world that must notice.

A mutant that nobody notices means that the world is blind. Each is patched in, its world is played seed by seed until
one fails, and the same seed must pass without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest

from evermq.testing.world import worlds

__all__ = ["Mutant", "caught", "passes"]


@dataclass(frozen=True, slots=True)
class Mutant:
    """name: what is wrong, in a few words. rule: what it breaks. world: the one that must fail within `seeds_max`.

    plant(patch): makes the product wrong; by `patch.setattr` alone, so that a name that is no longer there is an error.
    first: the seed to begin with, where it is known that those before it show nothing.
    """

    name: str
    rule: str
    world: str
    plant: Callable[[pytest.MonkeyPatch], None]
    seeds_max: int = 20
    first: int = 1


def caught(mutant: Mutant) -> int:
    """A seed under which the world fails; 0 if it fails under none of `seeds_max`. A mutant that raises what the world
    does not expect is broken itself, and its error goes up."""
    run = worlds()[mutant.world].run
    with pytest.MonkeyPatch.context() as patch:
        mutant.plant(patch)
        seeds = (*range(mutant.first, mutant.seeds_max + 1), *range(1, mutant.first))
        return next((seed for seed in seeds if run(seed).failures), 0)


@cache  # many mutants have the same world
def passes(world: str, seed: int) -> bool:
    """Whether the unpatched product passes this seed."""
    return not worlds()[world].run(seed).failures
