"""The problems that samplers are developed on: a space, and a loss to minimise.

Tables answer with the score of one of several trainings, so that what an optimiser sees is noisy,
and are judged by the mean of all. Surrogates and functions answer exactly.
"""

import csv
import functools
import gzip
import itertools
import json
import math
import random
import statistics
from dataclasses import dataclass
from typing import Callable

from product import DATA, say


@dataclass
class Problem:
    name: str
    space: list[dict]
    """Dimensions in the JSON form of a Luthier space."""
    seen: Callable[[dict, random.Random], float]
    """What an evaluation answers."""
    true: Callable[[dict], float]
    """What a configuration is worth."""
    least: float | None = None
    """The lowest true loss, where it is known."""
    median: float | None = None
    """The median of all configurations, where they are counted."""


def names():
    return list(makers())


@functools.cache
def make(name):
    return makers()[name](name)


@functools.cache
def makers():
    """The problems whose data is there, by name."""
    tables = {
        "hpobench": ("car", "vehicle", "australian", "segment"),
        "hpolib": ("protein_structure", "slice_localization"),
        "nasbench201": ("cifar10",),
    }
    surrogates = {
        "lcbench": (lcbench, ("7593", "126026", "167168", "189906")),
        "rbv2_xgboost": (xgboost, ("54", "1040", "1461", "40984")),
    }
    found = {}
    for bench, sets in tables.items():
        for of_set in sets:
            if (DATA / "hpo_tables" / f"{bench}_{of_set}.csv.gz").exists():
                found[f"{bench}_{of_set}"] = functools.partial(table, bench=bench)
    for bench, (maker, tasks) in surrogates.items():
        if has_surrogate(bench):
            found |= {f"{bench}_{task}": functools.partial(maker, task=task) for task in tasks}
    if len(found) < 15:
        say("skipped: some tables or surrogates are not in the data folder (LUTHIER_DATA)")
    return found | {f"bbob_f{f}": functools.partial(bbob, function=f) for f in (1, 3, 10, 15)}


def dimension(name, distribution, when=None):
    return {"name": name, "distribution": distribution, **({"condition": when} if when else {})}


def integer(low, high, scale=None):
    return {"kind": "int", "low": low, "high": high, "step": 1, **({"scale": scale} if scale else {})}


def real(low, high, scale=None):
    return {"kind": "float", "low": low, "high": high, **({"scale": scale} if scale else {})}


def choice(*options):
    return {"kind": "choice", "options": list(options)}


def table(name, bench):
    """Every configuration was trained several times. Ordered options are searched by their index."""
    form = json.loads((DATA / "hpo_tables" / f"{bench}_space.json").read_text())
    sign = -1.0 if form["direction"] == "maximize" else 1.0
    space, index = [], {}
    for key in form["key_order"]:
        options = form["space"][key]
        index[key] = {str(option): place for place, option in enumerate(options)}
        ordered = not isinstance(options[0], str)
        how = integer(0, len(options) - 1) if ordered else choice(*options)
        space.append(dimension(key, how))
    rows = {}
    with gzip.open(DATA / "hpo_tables" / f"{name}.csv.gz", "rt", newline="") as file:
        for row in csv.DictReader(file):
            key = tuple(place(index[key], row[key]) for key in form["key_order"])
            scores = [row[column] for column in row if column not in index]
            rows[key] = [sign * float(score) for score in scores if score]
    means = {key: statistics.fmean(losses) for key, losses in rows.items()}

    def at(values):
        return tuple(
            values[key] if isinstance(values[key], int) else index[key][values[key]]
            for key in form["key_order"]
        )

    return Problem(
        name,
        space,
        seen=lambda values, rng: rng.choice(rows[at(values)]),
        true=lambda values: means[at(values)],
        least=min(means.values()),
        median=statistics.median(means.values()),
    )


def place(index, text):
    """The index of an option, which may be written as another kind of number."""
    if text in index:
        return index[text]
    return next(at for option, at in index.items() if float(option) == float(text))


class Surrogate:
    """A neural network that was fitted to many trainings."""

    def __init__(self, bench):
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        folder = DATA / "yahpo" / bench
        self.codes = json.loads((folder / "encoding.json").read_text())
        providers = ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(folder / "model.onnx", settings, providers)

    def answer(self, categories, numbers):
        import numpy

        inputs = {
            "x_cat": numpy.array(categories, dtype=numpy.int32),
            "x_cont": numpy.array(numbers, dtype=numpy.float32),
        }
        return self.session.run(None, inputs)[0]


def has_surrogate(bench):
    return (DATA / "yahpo" / bench / "model.onnx").exists()


@functools.cache
def surrogate(bench):
    return Surrogate(bench)


LCBENCH_SPACE = [
    dimension("batch_size", integer(16, 512, "log")),
    dimension("learning_rate", real(1e-4, 1e-1, "log")),
    dimension("momentum", real(0.1, 0.99)),
    dimension("weight_decay", real(1e-5, 1e-1)),
    dimension("num_layers", integer(1, 5)),
    dimension("max_units", integer(64, 1024, "log")),
    dimension("max_dropout", real(0.0, 1.0)),
]
LCBENCH_EPOCHS = 52


def lcbench_rows(task, rows):
    """Loss (the share of validation rows that are wrong) and seconds so far, for each row."""
    model = surrogate("lcbench")
    code = model.codes["OpenML_task_id"][task]
    out = model.answer([[code]] * len(rows), rows)
    return [1.0 - float(line[1]) / 100 for line in out], [float(line[0]) for line in out]


def lcbench_row(values, epoch):
    return [epoch, *(values[dimension["name"]] for dimension in LCBENCH_SPACE)]


def lcbench_curve(task, values):
    """Loss and seconds after each epoch. The surrogate's clock may go back a little, this one stands."""
    epochs = range(1, LCBENCH_EPOCHS + 1)
    losses, seconds = lcbench_rows(task, [lcbench_row(values, epoch) for epoch in epochs])
    return losses, list(itertools.accumulate(seconds, max))


def lcbench_ends(task, configurations):
    """Loss and seconds of whole trainings."""
    return lcbench_rows(task, [lcbench_row(values, LCBENCH_EPOCHS) for values in configurations])


def lcbench(name, task):
    def loss(values):
        return lcbench_ends(task, [values])[0][0]

    return Problem(name, LCBENCH_SPACE, seen=lambda values, _: loss(values), true=loss)


def xgboost_space():
    """A linear booster has three parameters of its own, trees have more, and `dart` more again."""
    tree, dart = {"parent": 0, "option": 1}, {"parent": 6, "option": 1}
    return [
        dimension("booster", choice("gblinear", "trees")),
        dimension("nrounds", integer(7, 2981, "log")),
        dimension("lambda", real(1e-3, 1e3, "log")),
        dimension("alpha", real(1e-3, 1e3, "log")),
        dimension("subsample", real(0.1, 1.0)),
        dimension("impute", choice("impute.mean", "impute.median", "impute.hist")),
        dimension("trees", choice("gbtree", "dart"), tree),
        dimension("eta", real(1e-3, 1.0, "log"), tree),
        dimension("gamma", real(5e-5, 7.0, "log"), tree),
        dimension("max_depth", integer(1, 15), tree),
        dimension("min_child_weight", real(2.8, 148.0, "log"), tree),
        dimension("colsample_bytree", real(0.01, 1.0), tree),
        dimension("colsample_bylevel", real(0.01, 1.0), tree),
        dimension("rate_drop", real(0.0, 1.0), dart),
        dimension("skip_drop", real(0.0, 1.0), dart),
    ]


XGBOOST_NUMBERS = (
    "nrounds eta gamma lambda alpha subsample max_depth min_child_weight "
    "colsample_bytree colsample_bylevel rate_drop skip_drop"
).split()


def xgboost(name, task):
    model = surrogate("rbv2_xgboost")
    codes = model.codes

    def loss(values):
        booster = codes["booster"][values.get("trees", values["booster"])]
        impute = codes["num.impute.selected.cpo"][values["impute"]]
        numbers = [values.get(number, 0.0) for number in XGBOOST_NUMBERS]
        all_rows, repeats = 1.0, 10.0
        out = model.answer(
            [[codes["task_id"][task], booster, impute]], [[*numbers, all_rows, repeats]]
        )
        return 1.0 - float(out[0][1])

    return Problem(name, xgboost_space(), seen=lambda values, _: loss(values), true=loss)


def bbob(name, function):
    import cocoex

    problem = cocoex.BareProblem("bbob", function, 5, 1)
    keys = [f"x{axis}" for axis in range(5)]
    space = [dimension(key, real(-5.0, 5.0)) for key in keys]

    def loss(values):
        return float(problem([values[key] for key in keys]))

    return Problem(
        name, space, seen=lambda values, _: loss(values), true=loss, least=problem.best_value()
    )


def draw(space, rng):
    """A configuration drawn uniformly on the scale of each dimension, branch by branch."""
    values, active = {}, []
    for one in space:
        how, when = one["distribution"], one.get("condition")
        holds = when is None or (
            active[when["parent"]]
            and values[space[when["parent"]]["name"]]
            == space[when["parent"]]["distribution"]["options"][when["option"]]
        )
        active.append(holds)
        if not holds:
            continue
        if how["kind"] == "choice":
            values[one["name"]] = rng.choice(how["options"])
            continue
        half = 0.5 if how["kind"] == "int" else 0.0
        low, high = how["low"] - half, how["high"] + half
        if how.get("scale") == "log":
            number = math.exp(rng.uniform(math.log(low), math.log(high)))
        else:
            number = rng.uniform(low, high)
        if half:
            number = min(max(round(number), how["low"]), how["high"])
        values[one["name"]] = number
    return values
