"""Searches of one method on one problem: what it would return after each trial."""

import json
import random
import subprocess
import sys
import time
import zlib
from pathlib import Path

import problems
from product import CHECKOUT, TARGET

TRIALS = 200
HERE = Path(__file__).resolve().parent
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
    import warnings

    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    kinds = {"optuna-tpe": optuna.samplers.TPESampler, "optuna-gp": optuna.samplers.GPSampler}
    study = optuna.create_study(sampler=kinds[method](seed=seed))
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


def suggested(trial, space):
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


def asker():
    """The program that proposes configurations, built."""
    command = ["cargo", "build", "--release", "-q", "-p", "luthier-tune", "--example", "ask"]
    subprocess.run(command, cwd=CHECKOUT, check=True)
    return TARGET / "release" / "examples" / "ask"


def by_product(sampler, problem, seed, trials):
    best, luck = Incumbent(problem), noise(problem.name, seed)
    setup = {"space": problem.space, "sampler": sampler, "seed": seed}
    with subprocess.Popen(
        [TARGET / "release" / "examples" / "ask"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        print(json.dumps(setup), file=program.stdin, flush=True)
        thought = 0.0
        for _ in range(trials):
            start = time.perf_counter()
            line = program.stdout.readline()
            thought += time.perf_counter() - start
            if not line:
                break
            values = json.loads(line)
            loss = problem.seen(values, luck)
            best.told(values, loss)
            print(repr(loss), file=program.stdin, flush=True)
    return best.curve, thought


def kept(method):
    """The curves of a peer as they are kept: by problem and seed."""
    path = HERE / "peers" / f"{method}.json"
    if not path.exists():
        return {"computed with": PEERS[method], "curves": {}}
    return json.loads(path.read_text())


def keep(method, seeds):
    """Computes what is missing of a peer's curves, all problems of a seed before the next seed."""
    path = HERE / "peers" / f"{method}.json"
    for seed in range(seeds):
        for problem in problems.names():
            found = kept(method)
            curves = found["curves"].setdefault(problem, {})
            if str(seed) in curves:
                continue
            curve, thought = curve_of(method, problem, seed)
            curves[str(seed)] = {"curve": curve, "seconds": round(thought, 2)}
            path.parent.mkdir(exist_ok=True)
            whole = path.with_suffix(".part")
            whole.write_text(compact(found))
            whole.rename(path)
            print(f"{method} {problem} seed {seed}: {thought:.1f} s", file=sys.stderr, flush=True)


def compact(found):
    """One line for each curve, so that a change is a line."""
    lines = []
    for problem, curves in sorted(found["curves"].items()):
        entries = [f"{json.dumps(seed)}: {json.dumps(one)}" for seed, one in curves.items()]
        lines.append(f"{json.dumps(problem)}: {{\n" + ",\n".join(entries) + "}")
    version = json.dumps(found["computed with"])
    return f'{{"computed with": {version}, "curves": {{\n' + ",\n".join(lines) + "}}\n"
