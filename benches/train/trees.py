"""How fast and how well boosted trees are fitted, beside LightGBM in the same run."""

import csv
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import figures
import lightgbm
import numpy as np
import onnxruntime
import optuna
import product
from scipy.stats import ttest_1samp, ttest_rel
from sklearn.datasets import make_classification
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split

THREADS = 2
SEEDS = 5
TRIALS = 30
# Of the comparison after tuning, and how often they are drawn.
FOLDS = 5
REPEATS = 3
SHARE_OF_TIME = 0.8
AUC_APART = 0.002
TOLERANCE = 1e-5
# Names of options, and what LightGBM calls them.
NAMES = {
    "learning_rate": "learning_rate",
    "leaves": "num_leaves",
    "min_rows": "min_data_in_leaf",
    "l1": "lambda_l1",
    "l2": "lambda_l2",
    "rows": "bagging_fraction",
    "columns": "feature_fraction",
}
DEFAULTS = {
    "rounds": 100,
    "learning_rate": 0.1,
    "leaves": 31,
    "min_rows": 20,
    "l1": 0.0,
    "l2": 0.0,
    "rows": 1.0,
    "columns": 1.0,
}
PROPOSAL = {
    "rounds": 250,
    "learning_rate": 0.04,
    "leaves": 16,
    "min_rows": 40,
    "l1": 0.1,
    "l2": 5.0,
    "rows": 0.8,
    "columns": 0.6,
}


def measure(quick, rounds):
    product.build()
    product.build_example("luthier-train", "fit_trees")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name, rows in tables(quick):
            found += speed(folder, name, rows, 3 if quick else rounds or 7)
            found += quality(folder, name, rows, 2 if quick else SEEDS)
            if name == "uci_default":
                found += tuned(folder, name, rows, *((2, 2, 1) if quick else (TRIALS, FOLDS, REPEATS)))
        found += claims(folder, quick)
    return found


def claims(folder, quick):
    """Whether the product says that tuned trees are better than logistic regression where a test over folds
    does not."""
    parts = product.data_set("german_credit")
    if not parts:
        return []
    rows = [row for path in vars(parts).values() for row in product.rows(path)]
    labels = [row["label"] for row in rows]
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=42).split(rows, labels)
    apart, verdicts = [], []
    for fold, (rest, held) in enumerate(folds):
        of_fold = folder / f"german-{fold}"
        of_fold.mkdir()
        for name, places in (("train", rest), ("test", held)):
            product.write([rows[place] for place in places], of_fold / f"{name}.csv")
        bundles = [credit(of_fold, learner, quick) for learner in ("boosted-trees", "linear")]
        compared = ["--against", bundles[1], "--metric", "roc_auc", "--label", "label"]
        said = product.luthier("eval", bundles[0], "--input", of_fold / "test.csv", *compared, "--format", "json")
        comparison = json.loads(said)["comparison"]
        apart.append(comparison["difference"])
        verdicts.append(comparison["verdict"])
        if quick:
            break
    p = 1.0 if quick else float(ttest_1samp(apart, 0).pvalue)
    how = (
        f"AUC {statistics.mean(apart):+.4f} in the mean of {len(apart)} folds, p = {p:.2g}; "
        f"`luthier eval` says {', '.join(verdicts)}"
    )
    unproven = sum(verdict == "better" for verdict in verdicts) if p >= 0.05 else 0
    return [figures.exactly("trees: german_credit, claims over linear that no test bears", unproven, "", 0, how)]


def credit(folder, learner, quick):
    """The bundle of a learner that was tuned on the rows of a fold."""
    job = folder / learner
    job.mkdir()
    (job / "luthier.toml").write_text(f"""
name = "{learner}"
task = "tabular-classification"
[data]
train = "../train.csv"
split = {{ valid = 0.2, test = 0 }}
label = "label"
positive = "1"
[objective]
metric = "roc_auc"
[tune]
learners = ["{learner}"]
""")
    product.run(job, 3 if quick else TRIALS)
    return job / "run" / "bundle"


def tables(quick):
    """Names and rows, the target last."""
    if parts := product.data_set("uci_default"):
        yield "uci_default", np.concatenate([read(path) for path in vars(parts).values()])
    columns, labels = make_classification(
        20_000 if quick else 250_000, 30, n_informative=12, n_redundant=6, n_clusters_per_class=4,
        flip_y=0.1, class_sep=0.7, random_state=1,
    )
    yield "generated", np.column_stack([columns, labels]).astype(np.float32)


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return np.array(list(csv.reader(file))[1:], np.float32)


def split(rows, share, seed):
    return train_test_split(rows, test_size=share, stratify=rows[:, -1], random_state=seed)


def speed(folder, name, rows, repeats):
    train, test = split(rows, 0.2, 0)
    own, peer = [], []
    for repeat in range(repeats + 1):
        ours, theirs = fit(folder, train, test, DEFAULTS)[0], peer_fit(train, DEFAULTS)[0]
        # The first time is to get warm.
        if repeat:
            own.append(ours)
            peer.append(theirs)
    ours, theirs = statistics.median(own), statistics.median(peer)
    how = (
        f"{ours:.3g} s over {theirs:.3g} s, {len(train)} rows, {DEFAULTS['rounds']} rounds of "
        f"{DEFAULTS['leaves']} leaves, {THREADS} threads, median of {repeats}"
    )
    figure = f"trees: {name}, time to fit over LightGBM's"
    return [figures.at_most(figure, ours / theirs, "x", SHARE_OF_TIME, how)]


def quality(folder, name, rows, seeds):
    own, peer = [], []
    for seed in range(seeds):
        train, test = split(rows, 0.2, seed)
        margins = fit(folder, train, test, DEFAULTS, seed)[1]
        own.append(roc_auc_score(test[:, -1], margins))
        booster = peer_fit(train, DEFAULTS, seed)[1]
        peer.append(roc_auc_score(test[:, -1], booster.predict(test[:, :-1])))
    short = statistics.mean(peer) - statistics.mean(own)
    how = f"{statistics.mean(own):.4f}, LightGBM {statistics.mean(peer):.4f}, {seeds} seeds"
    figure = f"trees: {name}, AUC below LightGBM's"
    found = [figures.at_most(figure, short, "", AUC_APART, how)]
    apart = float(np.abs(answers(folder, test) - 1 / (1 + np.exp(-margins))).max())
    how = f"probabilities of {len(test)} rows"
    figure = f"trees: {name}, onnxruntime apart from memory"
    return [*found, figures.at_most(figure, apart, "", TOLERANCE, how)]


def answers(folder, rows):
    """What onnxruntime says to the forest that was fitted last."""
    session = onnxruntime.InferenceSession(folder / "graph", providers=["CPUExecutionProvider"])
    return session.run(None, {"columns": rows[:, :-1]})[0][:, 1]


def tuned(folder, name, rows, trials, folds, repeats):
    """AUC out of fold where the rest of the rows was searched on, both with the same space and sampler.

    Few trials of one seed find more or less good options by chance, about 0.001 of AUC apart; so the folds
    are drawn `repeats` times, each searched with a seed of its own.
    """
    own, peer = [], []
    for seed, (rest, held) in enumerate(repeated_folds(rows, folds, repeats)):

        def ours(train, test, values):
            return fit(folder, train, test, values, seed)[1]

        def theirs(train, test, values):
            return peer_fit(train, values, seed)[1].predict(test[:, :-1])

        for margins, scores in ((ours, own), (theirs, peer)):
            values = search(rest, margins, trials, seed)
            scores.append(roc_auc_score(held[:, -1], margins(rest, held, values)))
    p = ttest_rel(own, peer).pvalue
    above = statistics.mean(own) - statistics.mean(peer)
    how = (
        f"{statistics.mean(own):.4f}, LightGBM {statistics.mean(peer):.4f}, {trials} trials of "
        f"Optuna's TPE each, {folds} folds drawn {repeats} times, paired t-test p = {p:.2g}"
    )
    figure = f"trees: {name}, AUC after tuning above LightGBM's"
    # A difference that the test does not tell from none is a tie.
    met = bool(above >= 0 or p > 0.05)
    return [figures.Figure(figure, above, "", ">= 0, or a tie", met, how)]


def repeated_folds(rows, folds, repeats):
    """The rows to search on and those held out, for each of the folds, drawn anew `repeats` times."""
    for repeat in range(repeats):
        drawn = StratifiedKFold(folds, shuffle=True, random_state=repeat)
        for rest, held in drawn.split(rows, rows[:, -1]):
            yield rows[rest], rows[held]


def search(rows, margins, trials, seed):
    """The options that do best on a fifth of the rows, fitted to the others."""
    train, valid = split(rows, 0.2, seed)

    def objective(trial):
        values = {
            "rounds": trial.suggest_int("rounds", 50, 500, log=True),
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
            "leaves": trial.suggest_int("leaves", 4, 128, log=True),
            "min_rows": trial.suggest_int("min_rows", 5, 200, log=True),
            "l1": trial.suggest_float("l1", 1e-3, 10.0, log=True),
            "l2": trial.suggest_float("l2", 1e-3, 100.0, log=True),
            "rows": trial.suggest_float("rows", 0.5, 1.0),
            "columns": trial.suggest_float("columns", 0.3, 1.0),
        }
        return roc_auc_score(valid[:, -1], margins(train, valid, values))

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.enqueue_trial(PROPOSAL)
    study.optimize(objective, n_trials=trials)
    return study.best_params


def fit(folder, train, test, values, seed=0):
    """Seconds to fit our trees, and the margins of the test rows."""
    train.tofile(folder / "train")
    test.tofile(folder / "test")
    options = [f"{name}={value}" for name, value in values.items()]
    outputs = [f"margins={folder / 'margins'}", f"graph={folder / 'graph'}"]
    done = subprocess.run(
        [
            product.EXAMPLES / "fit_trees", folder / "train", folder / "test",
            str(train.shape[1] - 1), f"threads={THREADS}", f"seed={seed}", *options, *outputs,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout), np.fromfile(folder / "margins", np.float32)


def peer_fit(train, values, seed=0):
    """Seconds to fit LightGBM's, and these."""
    columns, labels = (np.ascontiguousarray(part) for part in (train[:, :-1], train[:, -1]))
    parameters = {NAMES[name]: value for name, value in values.items() if name in NAMES}
    parameters |= {
        "objective": "binary",
        "num_threads": THREADS,
        "seed": seed,
        "verbosity": -1,
        "bagging_freq": int(values["rows"] < 1),
    }
    start = time.perf_counter()
    data = lightgbm.Dataset(columns, labels, params=parameters)
    booster = lightgbm.train(parameters, data, values["rounds"])
    return time.perf_counter() - start, booster
