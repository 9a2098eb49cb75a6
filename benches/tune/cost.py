"""What proposals and bookkeeping cost, beside Optuna in the same run."""

import json
import random
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import asker
import figures
import problems
import product
import search

TRIALS = {"tpe": (1000, 5000), "gp": (100, 300)}
MILLISECONDS = {("tpe", 1000): 1, ("tpe", 5000): 5, ("gp", 100): 20, ("gp", 300): 150}
TIMES = {("tpe", 1000): 20, ("tpe", 5000): 13, ("gp", 100): 30, ("gp", 300): 30}

SPACE = [
    *(problems.dimension(f"float_{at}", problems.real(0.0, 1.0)) for at in range(4)),
    *(problems.dimension(f"log_{at}", problems.real(1e-5, 1.0, "log")) for at in range(2)),
    *(problems.dimension(f"int_{at}", problems.integer(1, 100)) for at in range(2)),
    *(problems.dimension(f"choice_{at}", problems.choice(*"abcd")) for at in range(2)),
]


def loss(values):
    floats = sum((values[f"float_{at}"] - 0.3) ** 2 for at in range(4))
    logs = sum(abs(values[f"log_{at}"] - 1e-2) for at in range(2))
    integers = sum((values[f"int_{at}"] / 100 - 0.5) ** 2 for at in range(2))
    return floats + logs + integers + sum(values[f"choice_{at}"] != "b" for at in range(2))


def measure(quick, rounds):
    asker.build()
    found = []
    for sampler, counts in TRIALS.items():
        for count in counts[:1] if quick else counts:
            found += asked(sampler, count, 3 if quick else rounds or 11)
    return found + studies(quick)


def asked(sampler, count, rounds):
    """Time to ask and tell where so many trials are known, of Optuna and ours by turns, so that what
    else the machine does slows both."""
    rng = random.Random(count)
    given = [problems.draw(SPACE, rng) for _ in range(count)]
    with asker.Asker(SPACE, sampler, 0, trials=stored(given)) as program:
        ours, theirs = asks_of_product(program), asks_of_optuna(sampler, given)
        own, peer = [], []
        for _ in range(rounds):
            peer.append(next(theirs))
            own += [next(ours) for _ in range(3)]
    (cpu, wall), (peer_cpu, peer_wall) = medians(own), medians(peer)
    name = f"{sampler}: ask and tell at {count} trials"
    how = f"processor time, 10 mixed parameters, median of {len(own)}; {wall:.3g} ms of wall time"
    beside = f"Optuna {peer_cpu:.4g} ms, {peer_wall:.4g} ms of wall time, median of {len(peer)}"
    ratio, share = f"{name}, Optuna's over ours", peer_cpu / cpu
    return [
        figures.below(name, cpu, "ms", MILLISECONDS[sampler, count], how),
        figures.at_least(ratio, share, "x", TIMES[sampler, count], beside),
    ]


def stored(given):
    """Complete trials in the JSON form of the product."""
    return [
        {"number": number, "values": values, "state": "complete", "scores": [loss(values)]}
        for number, values in enumerate(given)
    ]


def asks_of_product(program):
    """Seconds on a processor and of wall time, for each further trial."""
    _, values = program.ask()
    while True:
        before = program.cpu_seconds(), time.perf_counter()
        program.tell(loss(values))
        _, values = program.ask()
        yield program.cpu_seconds() - before[0], time.perf_counter() - before[1]


def asks_of_optuna(sampler, given):
    """The same of Optuna."""
    import optuna

    study = optuna.create_study(sampler=search.optuna_sampler(f"optuna-{sampler}", 0))
    distributions = {one["name"]: distribution(one["distribution"]) for one in SPACE}
    study.add_trials([
        optuna.trial.create_trial(params=values, distributions=distributions, value=loss(values))
        for values in given
    ])

    def ask():
        before = time.process_time(), time.perf_counter()
        trial = study.ask()
        study.tell(trial, loss(search.suggested(trial, SPACE)))
        return time.process_time() - before[0], time.perf_counter() - before[1]

    ask()  # The first imports what the sampler needs.
    while True:
        yield ask()


def distribution(how):
    from optuna import distributions

    if how["kind"] == "choice":
        return distributions.CategoricalDistribution(how["options"])
    number = {"int": distributions.IntDistribution, "float": distributions.FloatDistribution}
    return number[how["kind"]](how["low"], how["high"], log=how.get("scale") == "log")


def medians(times):
    """In milliseconds."""
    return [statistics.median(kind) * 1e3 for kind in zip(*times)]


def studies(quick):
    """What a study on disk costs."""
    product.build_example("luthier-study", "cost")
    count = 1000 if quick else 5000
    with tempfile.TemporaryDirectory(prefix="tune-") as folder:
        filled, new = Path(folder) / "filled.db", Path(folder) / "new.db"
        program(filled, "fill", count)
        opened = [program(filled, "open") for _ in range(3)]
        commits = program(new, "commit", 200 if quick else 1000)
    load = statistics.median(one["seconds"] for one in opened)
    memory = max(one["peak_mib"] for one in opened)
    of = f"SQLite, {count} trials of 10 parameters and 5 steps"
    in_all = "whole process, which adds a trial by tpe"
    step = f"median of {commits['steps']}, in order, each safe against a killed process"
    trial = f"begin and end of a trial, proposed at random, median of {commits['trials']}"
    return [
        figures.below("study: time to load", load, "s", 0.3, f"{of}, median of 3"),
        figures.below("study: memory", memory, "MiB", 50, f"{of}, {in_all}"),
        figures.below("study: one step written", commits["step_ms"], "ms", 1, f"SQLite, {step}"),
        figures.below("study: one trial written", commits["trial_ms"], "ms", 1, f"SQLite, {trial}"),
    ]


def program(*arguments):
    command = [product.EXAMPLES / "cost", *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
