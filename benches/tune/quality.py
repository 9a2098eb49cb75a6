"""How good proposals are, beside those of the peers."""

import statistics
from concurrent.futures import ProcessPoolExecutor
from itertools import product as pairs

import asker
import figures
import peers
import problems
import score
import search
from product import say

SEEDS = 10


def measure(quick, samplers, verbose):
    names = problems.names()
    if quick:
        names = [name for name in names if name.startswith(("hpobench_car", "bbob_f1"))]
    seeds, samplers = (range(2) if quick else range(SEEDS)), samplers or ["auto"]
    curves = {method: peers.complete(search.kept(method), names) for method in search.PEERS}
    curves = {method: kept for method, kept in curves.items() if kept}
    asker.build()
    seconds = {}
    for sampler in samplers:
        say(f"searching with {sampler}")
        curves[sampler], seconds[sampler] = ours(sampler, names, seeds)
    regrets = regrets_of(curves, names)
    if verbose:
        for budget in score.BUDGETS:
            print(per_problem(regrets, names, budget))
    return figures_of(regrets, samplers, seconds, seeds)


def ours(sampler, names, seeds):
    jobs = list(pairs(names, seeds))
    with ProcessPoolExecutor() as pool:
        work = [pool.submit(search.curve_of, sampler, name, seed) for name, seed in jobs]
        results = [job.result() for job in work]
    curves = {name: [] for name in names}
    for (name, _), (curve, _) in zip(jobs, results):
        curves[name].append(curve)
    return curves, statistics.fmean(thought for _, thought in results)


def regrets_of(curves, names):
    """Regrets by budget, method and problem, one for each seed."""
    chance = curves["random"]
    scales = {
        name: score.Scale(name, [c for by in curves.values() for c in by[name]], chance[name])
        for name in names
    }
    return {
        budget: {
            method: {n: [scales[n].regret(c, budget) for c in by[n]] for n in names}
            for method, by in curves.items()
        }
        for budget in score.BUDGETS
    }


def per_problem(regrets, names, budget):
    methods = list(regrets[budget])
    lines = [[f"after {budget}", *methods]]
    for name in names:
        cells = [f"{statistics.fmean(regrets[budget][m][name]):.4f}" for m in methods]
        lines.append([name, *cells])
    lines.append(["mean", *(f"{mean_regret(regrets[budget][m]):.4f}" for m in methods)])
    logs = (score.magnitude(flat(regrets[budget][m])) for m in methods)
    lines.append(["mean log10", *(f"{value:.3f}" for value in logs)])
    ranks = score.mean_ranks(regrets[budget])
    lines.append(["mean rank", *(f"{ranks[m]:.2f}" for m in methods)])
    widths = [max(map(len, column)) for column in zip(*lines)]
    rows = ("  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in lines)
    return "\n".join(rows) + "\n"


def flat(by_problem):
    return [regret for regrets in by_problem.values() for regret in regrets]


def mean_regret(by_problem):
    return statistics.fmean(map(statistics.fmean, by_problem.values()))


def figures_of(regrets, samplers, seconds, seeds):
    found = []
    for sampler in samplers:
        for budget in score.BUDGETS:
            found += at_budget(regrets[budget], sampler, budget, seeds)
        how = f"{search.TRIALS} trials, mean over problems and seeds"
        found.append(figures.told(f"{sampler}: time to propose", seconds[sampler], "s", how))
    return found


def at_budget(by_method, sampler, budget, seeds):
    own = by_method[sampler]
    peers = [method for method in by_method if method.startswith("optuna-")]
    ps = score.holm([score.against(own, by_method[peer]) for peer in peers])
    ranks = score.mean_ranks({m: by_method[m] for m in ["random", *peers, sampler]})
    found = []
    for peer, p in zip(peers, ps):
        theirs = by_method[peer]
        wins, level, losses = score.problem_by_problem(own, theirs)
        count = len(next(iter(theirs.values())))
        how = (
            f"{len(own)} problems, {len(seeds)} seeds, {count} of the peer; "
            f"Wilcoxon over problems p = {p:.3g} (Holm); better, level, worse on "
            f"{wins}, {level}, {losses} problems"
        )
        name = f"{sampler}: mean regret after {budget}, against {peer}"
        found.append(figures.below(name, mean_regret(own), "", round(mean_regret(theirs), 6), how))
    value, low, high = score.interquartile_mean(own)
    rest = ", ".join(f"{m} {ranks[m]:.2f}" for m in ranks)
    how = (
        f"interquartile mean {value:.4f} ({low:.4f} to {high:.4f}); "
        f"mean log10 {score.magnitude(flat(own)):.3f}; "
        f"mean ranks {rest}, Friedman p = {score.friedman(by_method):.3g}"
    )
    score_of_100 = 100 * (1 - mean_regret(own))
    found.append(figures.told(f"{sampler}: score after {budget}", score_of_100, "of 100", how))
    return found
