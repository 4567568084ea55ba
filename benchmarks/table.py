"""Renders a stored run for the documentation: `python benchmarks/table.py benchmarks/results/log.json`; with --write
into every document that shows it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rig.pages import refresh
from rig.report import as_markdown


def main() -> None:
    parser = argparse.ArgumentParser(description="Tables of runs that were stored with --out.")
    parser.add_argument("files", nargs="+", type=Path, help="for instance benchmarks/results/log.json")
    parser.add_argument("--write", action="store_true", help="into the documents that show them, not to the terminal")
    given = parser.parse_args()
    for path in given.files:
        if given.write:
            print("\n".join(map(str, refresh(path))) or f"no document shows {path}")
        else:
            print(as_markdown(json.loads(path.read_text())), end="\n\n")


if __name__ == "__main__":
    main()
