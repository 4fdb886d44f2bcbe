"""The benchmarks: `python tests/benchmarks/run.py [NAME ...]` measures and prints Markdown tables.

Each number is taken against another of the same run, or against a person's patience: machines differ, and a noisy
one differs from itself. Nothing here fails a test; a target that is missed is a question.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # as `streamlit run` does

from report import table

BENCHMARKS = {
    "training": ("training", ()),
    "peers": ("peers", ()),
    "tabs-30": ("tabs", (30,)),
    "tabs-100": ("tabs", (100,)),
    "room": ("room", (300,)),
    "second": ("second", ()),
    "widgets": ("widgets", ()),
    "start": ("start", ()),
    "cold": ("cold", ()),
    "memory": ("memory", ()),
    "cold-crowd": ("crowd", ("cold",)),
    "waves": ("crowd", ("waves",)),
    "faults": ("faults", ()),
    "cloud": ("cloud", ()),
    "hostile": ("hostile", ()),
    "visitors": ("visitors", ()),
    "stacks": ("stacks", ()),
    "steady": ("steady", ()),
    "measuring": ("class_measure", ()),
    "cluster": ("cluster", ()),
    "next-steps": ("next_steps", ()),
}
"""Each by its name: a module of this folder, and what its `run` is called with."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all if there is none")
    names = parser.parse_args().names or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    for name in names:
        module, args = BENCHMARKS[name]
        begun = time.monotonic()
        figures = importlib.import_module(module).run(*args)
        print(f"\n{table(name, figures)}\n\n{name} took {time.monotonic() - begun:.0f} s.", flush=True)


if __name__ == "__main__":
    main()
