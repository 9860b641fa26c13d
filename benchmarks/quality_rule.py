"""What does the quality gate's rule do to good and to bad variants, beside a rule that reads the drop alone?

Simulated: a classifier that is right in 90 % of the rows, and a variant of it that loses and wins back given shares.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from benchmarks._common import write
from edgeplm.cli._output import console, table
from edgeplm_export.quality.gate import MAX_DROP, decide
from edgeplm_export.quality.metrics import METRICS
from edgeplm_export.quality.significance import compare


TRIALS = 300
ROWS = (50, 100, 200, 500, 2000)
# (true drop, share of the rows that flip): alike; a good int8; harmful a little; harmful; broken.
VARIANTS = ((0.0, 0.005), (0.0, 0.02), (0.01, 0.03), (0.03, 0.05), (0.10, 0.14))
RIGHT = 0.9
VERDICTS = ("proved", "not proved", "too few rows", "worse")


def simulate(rows: int, drop: float, flips: float, *, trials: int = TRIALS, seed: int = 0) -> Counter[str]:
    """The verdicts over the trials, and under "drop alone" how often the drop alone would have refused."""
    rng = np.random.default_rng(seed)
    found: Counter[str] = Counter()
    lost, won = (flips + drop) / 2, (flips - drop) / 2
    for _ in range(trials):
        before = rng.random(rows) < RIGHT
        draw = rng.random(rows)
        # A right answer gets lost, a wrong one is won, so that the shares hold over all rows.
        after = np.where(before, draw >= lost / RIGHT, draw < won / (1 - RIGHT))
        gold = np.ones(rows, dtype=np.bool_)
        difference = compare(METRICS["accuracy"], gold, before, after)
        found[decide(difference, rows, MAX_DROP)[0]] += 1
        found["drop alone"] += difference.drop > MAX_DROP
    return found


def main() -> None:
    """Print a table, write one JSON."""
    made = table(
        f"verdicts in %, max_drop {MAX_DROP}, {TRIALS} trials",
        *("true drop", "flips", "rows", "proved", "not proved", "too few rows", "worse", "the drop alone refuses"),
    )
    results = []
    for drop, flips in VARIANTS:
        for rows in ROWS:
            found = simulate(rows, drop, flips)
            shares = {name: 100 * found[name] / TRIALS for name in (*VERDICTS, "drop alone")}
            made.add_row(f"{drop:.3f}", f"{flips:.3f}", str(rows), *(f"{share:.0f}" for share in shares.values()))
            results.append({"drop": drop, "flips": flips, "rows": rows, "percent": shares})
    console().print(made)
    write("quality_rule", {"trials": TRIALS, "max_drop": MAX_DROP, "results": results})


if __name__ == "__main__":
    main()
