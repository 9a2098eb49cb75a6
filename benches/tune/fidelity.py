"""How soon searches that may stop trainings early find good configurations, in simulated seconds.

Tasks are those of lcbench, where a surrogate tells the loss and the seconds of each epoch. A search
may spend what 20 whole trainings of median length take; what it returns is the best training that
came to its end.
"""

import functools
import math
import random
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import asker
import figures
import peers
import problems
import search
from problems import LCBENCH_EPOCHS, LCBENCH_SPACE

TASKS = ("7593", "126026", "167168", "189906", "3945", "34539", "167104", "168908")
SEEDS = 10
TRAININGS = 20
DRAWS = 20_000
SHARES = [place / 500 for place in range(501)]
"""Parts of the budget after which searches are compared."""
BASELINE, VERSION = "optuna-hyperband", "optuna 5.0.0"
PRUNERS = {
    "halving": {"kind": "halving"},
    "promote": {"kind": "halving", "promote": True},
    "hyperband": {"kind": "hyperband", "max_resource": LCBENCH_EPOCHS},
}
JUDGED = "promote"


@dataclass
class Task:
    name: str
    budget: float
    """Simulated seconds."""
    least: float
    """The lowest loss of many random configurations."""
    median: float
    """Their median loss."""


@functools.cache
def task(name):
    rng = random.Random(0)
    drawn = [problems.draw(LCBENCH_SPACE, rng) for _ in range(DRAWS)]
    losses, seconds = problems.lcbench_ends(name, drawn)
    budget = TRAININGS * statistics.median(seconds)
    return Task(name, budget, min(losses), statistics.median(losses))


class Trainings:
    """Trainings one after the other, until the budget is spent."""

    def __init__(self, task):
        self.task, self.spent, self.best, self.curve = task, 0.0, float("inf"), []

    def over(self):
        return self.spent >= self.task.budget

    def epochs(self, values, done=0):
        """Goes on with a training after the epochs that are done: each further one with its loss, as
        long as the caller asks for more."""
        losses, seconds = problems.lcbench_curve(self.task.name, values)
        for epoch in range(done + 1, LCBENCH_EPOCHS + 1):
            before = seconds[epoch - 2] if epoch > 1 else 0.0
            self.spent += seconds[epoch - 1] - before
            if self.over():
                return
            yield epoch, losses[epoch - 1]
        if losses[-1] < self.best:
            self.best = losses[-1]
            self.curve.append([round(self.spent, 3), self.best])

    def finish(self, values, done=0):
        for _ in self.epochs(values, done):
            pass


def by_chance(task, seed):
    trainings, rng = Trainings(task), random.Random(seed)
    while not trainings.over():
        trainings.finish(problems.draw(LCBENCH_SPACE, rng))
    return trainings.curve


def one_epoch_then_best(task, seed):
    """Half of the budget for one epoch of as many configurations as it lasts for, the other half to
    finish the best of them in order."""
    trainings, rng, begun = Trainings(task), random.Random(seed), []
    while trainings.spent < task.budget / 2:
        values = problems.draw(LCBENCH_SPACE, rng)
        begun += [(loss, len(begun), values) for _, loss in [next(trainings.epochs(values))]]
    for _, _, values in sorted(begun):
        if not trainings.over():
            trainings.finish(values, done=1)
    return trainings.curve


def by_optuna(task, seed):
    """Hyperband and TPE, and the seconds that Optuna thought."""
    import optuna

    pruner = optuna.pruners.HyperbandPruner(max_resource=LCBENCH_EPOCHS)
    sampler = search.optuna_sampler("optuna-tpe", seed)
    study = optuna.create_study(sampler=sampler, pruner=pruner)
    trainings, start = Trainings(task), time.process_time()
    while not trainings.over():
        trial = study.ask()
        for epoch, loss in trainings.epochs(search.suggested(trial, LCBENCH_SPACE)):
            trial.report(loss, epoch)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            if not trainings.over():
                study.tell(trial, loss)
    return trainings.curve, time.process_time() - start


def by_product(task, seed, sampler, pruner):
    trainings, last = Trainings(task), {}
    with asker.Asker(LCBENCH_SPACE, sampler, seed, PRUNERS[pruner]) as program:
        while not trainings.over():
            number, values = program.ask()
            done, _ = last.get(number, (0, None))
            for epoch, loss in trainings.epochs(values, done):
                last[number] = epoch, loss
                if program.report(epoch, loss) != "continue":
                    break
            else:
                if not trainings.over():
                    program.tell(last[number][1])
    return trainings.curve


def keep(seeds):
    """Computes what is missing of the baseline."""
    peers.keep(BASELINE, VERSION, TASKS, seeds, lambda name, seed: by_optuna(task(name), seed))


def measure(quick, samplers):
    if not problems.has_surrogate("lcbench"):
        return []
    names, seeds = (TASKS[:2], range(2)) if quick else (TASKS, range(SEEDS))
    if not quick:
        keep(len(seeds))
    asker.build()
    curves = {BASELINE: peers.complete(peers.kept(BASELINE, VERSION), names)}
    curves["random"] = searched(names, seeds, by_chance)
    curves["one epoch, then the best"] = searched(names, seeds, one_epoch_then_best)
    ours = [(sampler, pruner) for sampler in samplers or ["auto"] for pruner in PRUNERS]
    for sampler, pruner in ours:
        how = functools.partial(by_product, sampler=sampler, pruner=pruner)
        curves[f"{sampler}, {pruner}"] = searched(names, seeds, how)
    regrets = regrets_of(curves, names)
    return [figure for method in regrets for figure in figures_of(regrets, method, len(seeds))]


def searched(names, seeds, how):
    """Curves by task, one for each seed."""
    for name in names:
        task(name)  # Known to the processes that are forked.
    with ProcessPoolExecutor() as pool:
        jobs = {n: [pool.submit(one_search, how, n, seed) for seed in seeds] for n in names}
        return {name: [job.result() for job in of_task] for name, of_task in jobs.items()}


def one_search(how, name, seed):
    return how(task(name), seed)


def regrets_of(curves, names):
    """Mean regret over seeds after each share of the budget, by method and task: 0 is the best that
    was ever seen, 1 the median of random configurations."""
    found = {method: {} for method in curves}
    for name in names:
        of = task(name)
        ends = [curve[-1][1] for by_task in curves.values() for curve in by_task[name] if curve]
        least = min([of.least, *ends])

        def regret(curve, share):
            losses = [loss for spent, loss in curve if spent <= share * of.budget]
            reached = losses[-1] if losses else of.median
            return min(max((reached - least) / (of.median - least), 0.0), 1.0)

        for method, by_task in curves.items():
            found[method][name] = [
                statistics.fmean(regret(curve, share) for curve in by_task[name])
                for share in SHARES
            ]
    return found


def figures_of(regrets, method, seeds):
    of_tasks, theirs = regrets[method], regrets[BASELINE]
    whole = share_to_reach(over_tasks(of_tasks), over_tasks(theirs)[-1])
    shares = {name: share_to_reach(of_tasks[name], theirs[name][-1]) for name in of_tasks}
    within = sum(share <= 0.5 for share in shares.values())
    each = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
    how = (
        f"mean regret over {len(shares)} tasks and {seeds} seeds, {over_tasks(of_tasks)[-1]:.4f} at "
        f"the end; within half of it on {within} tasks: {each}"
    )
    name = f"{method}: simulated time to what Optuna's Hyperband and TPE end with"
    judged = method.endswith(f", {JUDGED}")
    told = figures.at_most(name, whole, "of theirs", 0.5, how) if judged else (
        figures.told(name, whole, "of theirs", how)
    )
    if math.isinf(whole):
        told.value = "never"  # JSON has no infinity.
    return [told]


def over_tasks(regrets):
    return [statistics.fmean(at) for at in zip(*regrets.values())]


def share_to_reach(regrets, goal):
    """The part of the budget after which a goal is reached; infinite if it never is."""
    reached = (share for share, regret in zip(SHARES, regrets) if regret <= goal)
    return next(reached, float("inf"))
