"""Searches of one method on one problem: what it would return after each trial."""

import random
import time
import zlib

import asker
import peers
import problems

TRIALS = 200
PEERS = {
    "random": "luthier bench",
    "optuna-tpe": "optuna 5.0.0",
    "optuna-gp": "optuna 5.0.0",
}
"""Methods whose curves are kept, and what they were computed with."""


class Incumbent:
    """The configuration with the lowest loss seen so far."""

    def __init__(self, problem):
        self.problem, self.seen, self.count, self.curve = problem, float("inf"), 0, []

    def told(self, values, loss):
        """Notes a trial. The curve has a point for each change: trials so far, true loss."""
        self.count += 1
        if loss < self.seen:
            self.seen = loss
            self.curve.append([self.count, self.problem.true(values)])


def at(curve, budget):
    """The true loss of what is returned after so many trials."""
    return [value for count, value in curve if count <= budget][-1]


def noise(problem, seed):
    """What an evaluation draws from is the same for all methods."""
    return random.Random(zlib.crc32(f"{problem} {seed}".encode()))


def curve_of(method, problem, seed, trials=TRIALS):
    """The curve, and the seconds that the method thought."""
    if method == "random":
        return by_chance(problems.make(problem), seed, trials)
    if method.startswith("optuna-"):
        return by_optuna(method, problems.make(problem), seed, trials)
    return by_product(method, problems.make(problem), seed, trials)


def by_chance(problem, seed, trials):
    best, rng, luck = Incumbent(problem), random.Random(seed), noise(problem.name, seed)
    for _ in range(trials):
        values = problems.draw(problem.space, rng)
        best.told(values, problem.seen(values, luck))
    return best.curve, 0.0


def by_optuna(method, problem, seed, trials):
    import optuna

    study = optuna.create_study(sampler=optuna_sampler(method, seed))
    best, luck, thought = Incumbent(problem), noise(problem.name, seed), 0.0
    for _ in range(trials):
        start = time.process_time()
        trial = study.ask()
        values = suggested(trial, problem.space)
        thought += time.process_time() - start
        loss = problem.seen(values, luck)
        start = time.process_time()
        study.tell(trial, loss)
        thought += time.process_time() - start
        best.told(values, loss)
    return best.curve, thought


def optuna_sampler(method, seed):
    """A sampler with its default settings, which is not to print."""
    import warnings

    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    kinds = {"optuna-tpe": optuna.samplers.TPESampler, "optuna-gp": optuna.samplers.GPSampler}
    return kinds[method](seed=seed)


def suggested(trial, space):
    """The values of a trial of Optuna."""
    values = {}
    for one in space:
        name, how, when = one["name"], one["distribution"], one.get("condition")
        if when is not None:
            parent = space[when["parent"]]
            if values.get(parent["name"]) != parent["distribution"]["options"][when["option"]]:
                continue
        log = how.get("scale") == "log"
        if how["kind"] == "choice":
            values[name] = trial.suggest_categorical(name, how["options"])
        elif how["kind"] == "int":
            values[name] = trial.suggest_int(name, how["low"], how["high"], log=log)
        else:
            values[name] = trial.suggest_float(name, how["low"], how["high"], log=log)
    return values


def by_product(sampler, problem, seed, trials):
    best, luck, thought = Incumbent(problem), noise(problem.name, seed), 0.0
    with asker.Asker(problem.space, sampler, seed) as program:
        for _ in range(trials):
            start = time.perf_counter()
            proposed = program.ask()
            thought += time.perf_counter() - start
            if proposed is None:
                break
            _, values = proposed
            loss = problem.seen(values, luck)
            best.told(values, loss)
            program.tell(loss)
    return best.curve, thought


def kept(method):
    """The curves of a peer by problem and seed."""
    return peers.kept(method, PEERS[method])


def keep(method, seeds):
    """Computes what is missing of a peer's curves."""
    def of(problem, seed):
        return curve_of(method, problem, seed)

    peers.keep(method, PEERS[method], problems.names(), seeds, of)
