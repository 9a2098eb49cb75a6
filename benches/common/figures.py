"""Figures: what was measured, its target, and whether the target is met."""

import json
from dataclasses import asdict, dataclass
from math import comb
from typing import Any


@dataclass
class Figure:
    figure: str
    value: Any
    unit: str
    target: str | None = None
    met: bool | None = None
    how: str = ""


def at_least(figure, value, unit, target, how):
    return Figure(figure, value, unit, f">= {target:g}", value >= target, how)


def below(figure, value, unit, target, how):
    return Figure(figure, value, unit, f"< {target:g}", value < target, how)


def at_most(figure, value, unit, target, how):
    return Figure(figure, value, unit, f"<= {target:g}", value <= target, how)


def exactly(figure, value, unit, target, how):
    return Figure(figure, value, unit, f"= {target:g}", value == target, how)


def told(figure, value, unit, how):
    """A figure without a target."""
    return Figure(figure, value, unit, how=how)


def mcnemar(truth, ours, theirs):
    """Rows that only we have right, rows that only they have right, and the exact two-sided p."""
    rows = list(zip(truth, ours, theirs, strict=True))
    only_ours = sum(t == a != b for t, a, b in rows)
    only_theirs = sum(t == b != a for t, a, b in rows)
    n = only_ours + only_theirs
    tail = sum(comb(n, k) for k in range(min(only_ours, only_theirs) + 1))
    return only_ours, only_theirs, min(1.0, 2 * tail / 2**n)


def accuracy(truth, predicted):
    return sum(a == b for a, b in zip(truth, predicted, strict=True)) / len(truth)


def table(figures):
    """The figures as aligned columns."""
    mark = {True: "yes", False: "NO", None: ""}
    lines = [["figure", "value", "unit", "target", "met", "how"]]
    for f in figures:
        value = f"{f.value:.4g}" if isinstance(f.value, float) else str(f.value)
        lines.append([f.figure, value, f.unit, f.target or "", mark[f.met], f.how])
    widths = [max(map(len, column)) for column in zip(*lines)]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def write(figures, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(f) for f in figures], indent=2, ensure_ascii=False) + "\n")
