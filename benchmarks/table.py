"""Renders a stored run for the documentation: `python benchmarks/table.py benchmarks/results/log.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rig.report import as_markdown


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("give the files that benchmarks wrote with --out, for instance benchmarks/results/log.json")
    print("\n\n".join(as_markdown(json.loads(Path(name).read_text())) for name in sys.argv[1:]))


if __name__ == "__main__":
    main()
