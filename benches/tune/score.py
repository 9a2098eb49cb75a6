"""The scoring rule: regret between the best there is (0) and what chance finds (1)."""

import json
import math
import random
import statistics

import peers
import problems
import search

BUDGETS = (25, 50, 100, 200)
DRAWS = 20_000
"""Random configurations that a problem without a known best is measured by, besides all searches."""
FLOOR = 1e-4
"""Regrets below this one count as equal to it where they are compared by magnitude."""


class Scale:
    """What regrets of a problem are measured by."""

    def __init__(self, problem, curves, chance):
        """`curves` are all there are, of all methods; `chance` those of random search."""
        made = problems.make(problem)
        ends = [curve[-1][1] for curve in curves]
        self.least = made.least if made.least is not None else min(ends + [least_drawn(problem)])
        self.median, self.chance = made.median, chance

    def regret(self, curve, budget):
        reference = self.median
        if reference is None:
            reference = statistics.median(search.at(curve, budget) for curve in self.chance)
        width = reference - self.least
        share = (search.at(curve, budget) - self.least) / width if width > 0 else 0.0
        return min(max(share, 0.0), 1.0)


def least_drawn(problem):
    """The best of many random configurations, which takes half a minute in all and is kept."""
    path = peers.FOLDER / "least.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    if problem not in known:
        made, rng = problems.make(problem), random.Random(0)
        draws = (problems.draw(made.space, rng) for _ in range(DRAWS))
        known[problem] = min(made.true(values) for values in draws)
        path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    return known[problem]


def magnitude(regrets):
    return statistics.fmean(math.log10(max(regret, FLOOR)) for regret in regrets)


def mean_ranks(by_method):
    """Mean rank over problems of each method's mean regret; `by_method[method][problem]` has one
    regret for each seed."""
    from scipy.stats import rankdata

    methods = list(by_method)
    columns = [
        rankdata([statistics.fmean(by_method[method][problem]) for method in methods])
        for problem in by_method[methods[0]]
    ]
    return {method: statistics.fmean(c[at] for c in columns) for at, method in enumerate(methods)}


def friedman(by_method):
    """The p of the hypothesis that methods do not differ, problems being the unit."""
    from scipy.stats import friedmanchisquare

    means = [[statistics.fmean(r) for r in by_problem.values()] for by_problem in by_method.values()]
    return float(friedmanchisquare(*means).pvalue) if len(means) > 2 else float("nan")


def holm(ps):
    """Corrected p values, in the order given."""
    order = sorted(range(len(ps)), key=lambda at: ps[at])
    corrected, worst = [0.0] * len(ps), 0.0
    for place, at in enumerate(order):
        worst = max(worst, min(1.0, ps[at] * (len(ps) - place)))
        corrected[at] = worst
    return corrected


def against(ours, theirs):
    """Two-sided Wilcoxon p over the problems' mean regrets."""
    from scipy.stats import wilcoxon

    pairs = [(statistics.fmean(ours[p]), statistics.fmean(theirs[p])) for p in ours]
    if all(a == b for a, b in pairs):
        return 1.0
    return float(wilcoxon([a for a, _ in pairs], [b for _, b in pairs]).pvalue)


def problem_by_problem(ours, theirs, alpha=0.05):
    """Problems where ours is better, level and worse by Mann-Whitney over seeds, Holm-corrected."""
    from scipy.stats import mannwhitneyu

    ps, signs = [], []
    for problem in ours:
        a, b = ours[problem], theirs[problem]
        same = len(set(a + b)) == 1
        ps.append(1.0 if same else float(mannwhitneyu(a, b).pvalue))
        signs.append(statistics.fmean(a) < statistics.fmean(b))
    told = [p < alpha for p in holm(ps)]
    wins = sum(t and s for t, s in zip(told, signs))
    losses = sum(t and not s for t, s in zip(told, signs))
    return wins, len(told) - wins - losses, losses


def interquartile_mean(by_problem, resamples=2000):
    """Mean of the middle half of all regrets, with a 95 % interval over seeds of each problem."""
    from scipy.stats import trim_mean

    rng = random.Random(0)

    def resampled():
        return [r for regrets in by_problem.values() for r in rng.choices(regrets, k=len(regrets))]

    whole = trim_mean([r for regrets in by_problem.values() for r in regrets], 0.25)
    draws = sorted(float(trim_mean(resampled(), 0.25)) for _ in range(resamples))
    return float(whole), draws[int(0.025 * resamples)], draws[int(0.975 * resamples) - 1]
