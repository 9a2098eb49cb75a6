#!/usr/bin/env python3
"""The searches that `luthier` is compared with: Optuna and scikit-learn, with care or plainly.

Both draw from the space of learner `linear`, given as JSON, with TPE, and fit SGDClassifier on
hashed word and character n-grams. Only columns that occur in the training rows are carried on; rows
are scaled to length 1 and hold float32. `Tuned` prunes and shares its features between the workers;
`Plain` (`--plain`) does neither.

Seconds in the result run from the first line of this script to the end of the search, imports
included; refitting and test predictions come after.
"""

import time

START = time.perf_counter()

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import csv
import fcntl
import json
import multiprocessing
import tempfile
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import MaxTrialsCallback
from optuna.trial import TrialState
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import normalize

IMPORTED = time.perf_counter()
BUCKETS = 2**22
# A letter of a script without spaces, a run of other letters and digits, or another visible sign.
LONE = r"\u2e80-\u2fdf\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
WORD = rf"[{LONE}]|(?:[^\W{LONE}]|(?<=\w)'(?=\w))+|[^\w\s]"
# SGD on rows of length 1 wants steps about so many times those of AdaGrad, for which the range of
# learning rates was made.
STEP = 10.0


class Baseline:
    """What both baselines share; each adds its `pruner`, `groups` of n-grams and way to `learn`."""

    def __init__(self, train, other, folder):
        self.texts = train[0], other[0]
        self.labels = train[1]
        self.folder = Path(folder)

    def fit(self, values, seed, report=lambda epoch, predicted: None):
        """Fits `values` and gives the labels of the other rows; `report` may get earlier ones."""
        train, other = self.matrices(values["ngrams"], values["chars"], values["min_rows"])
        scale = scales(train, self.labels, values["weighting"]) ** np.float32(values["emphasis"])
        model = SGDClassifier(
            loss="log_loss",
            penalty="l2" if values["penalty"] == "l2" else None,
            alpha=values.get("alpha", 1e-8),
            learning_rate="constant",
            eta0=STEP * values["learning_rate"],
            max_iter=values["epochs"],
            tol=None,
            random_state=seed,
        )
        return self.learn(model, scaled(train, scale), scaled(other, scale), report)

    @lru_cache(maxsize=8)
    def matrices(self, ngrams, chars, min_rows):
        """Presence of n-grams in training rows and in the others."""
        blocks = []
        for train, other in self.groups(ngrams, chars):
            frequent = np.flatnonzero(np.bincount(train.indices) >= min_rows)
            blocks.append((train[:, frequent], other[:, frequent]))
        return [sparse.hstack(side, format="csr") for side in zip(*blocks)]

    def hashed(self, analyzer, low, high):
        """Presence of n-grams of lengths `low` to `high` in training rows and in the others."""
        options = {"ngram_range": (low, high), "binary": True, "norm": None}
        options |= {"alternate_sign": False, "n_features": BUCKETS, "dtype": np.float32}
        vectorizer = HashingVectorizer(analyzer=analyzer, token_pattern=WORD, **options)
        return [vectorizer.transform(texts) for texts in self.texts]


class Plain(Baseline):
    """The script as most would write it: whole fits on features that each worker has to itself."""

    pruner = optuna.pruners.NopPruner()

    @cache
    def groups(self, ngrams, chars):
        """One pass over the texts for words and one for characters."""
        ranges = [("word", 1, ngrams)] + ([("char", 2, chars)] if chars else [])
        return [self.hashed(*each) for each in ranges]

    def learn(self, model, train, other, report):
        return model.fit(train, self.labels).predict(other)


class Tuned(Baseline):
    """Steps that fall over the epochs, unpromising trials stopped, each n-gram hashed once.

    Each kind and length of n-gram is kept in files that both workers map into memory.
    """

    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)

    def learn(self, model, train, other, report):
        classes, first, epochs = np.unique(self.labels), model.eta0, model.max_iter
        for epoch in range(epochs):
            model.eta0 = first * (1 - epoch / epochs)
            model.partial_fit(train, self.labels, classes=classes)
            predicted = model.predict(other)
            report(epoch + 1, predicted)
        return predicted

    def groups(self, ngrams, chars):
        """Finds what is missing, leaving to the other worker what it is at, then loads all."""
        names = [("word", n) for n in range(1, ngrams + 1)]
        names += [("char", n) for n in range(2, chars + 1)]
        for how in (fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_EX):
            for name in names:
                self.find(name, how)
        return [self.load(name) for name in names]

    def find(self, name, how):
        folder = self.folder / "-".join(map(str, name))
        with open(f"{folder}.lock", "w") as lock:
            try:
                fcntl.flock(lock, how)
            except BlockingIOError:
                return
            if not folder.exists():
                folder.mkdir()
                for part, matrix in enumerate(self.seen(*name)):
                    np.save(folder / f"indices{part}.npy", matrix.indices)
                    np.save(folder / f"indptr{part}.npy", matrix.indptr)

    def seen(self, analyzer, n):
        """The columns that occur in training rows."""
        train, other = self.hashed(analyzer, n, n)
        seen = np.unique(train.indices)
        return train[:, seen], other[:, seen]

    def load(self, name):
        folder = self.folder / "-".join(map(str, name))
        arrays = [f"{array}{part}.npy" for part in range(2) for array in ("indices", "indptr")]
        loaded = [np.load(folder / array, mmap_mode="r") for array in arrays]
        train, other = loaded[:2], loaded[2:]
        width = int(train[0].max()) + 1
        return present(*train, width), present(*other, width)


def present(indices, indptr, width):
    """A matrix of ones at the given places."""
    data = np.ones(len(indices), np.float32)
    return sparse.csr_matrix((data, indices, indptr), (len(indptr) - 1, width))


def scales(train, labels, weighting):
    """How much each column tells: its class ratio, its rarity, or both; mean square 1."""
    counts = np.bincount(train.indices, minlength=train.shape[1])
    scale = np.ones(train.shape[1])
    if weighting in ("rarity", "both"):
        scale *= np.log((train.shape[0] + 1) / (counts + 1)) + 1
    if weighting in ("class", "both"):
        first = train[labels == labels[0]].indices
        inside = np.bincount(first, minlength=train.shape[1])
        inside, outside = inside + 1, counts - inside + 1
        scale *= np.abs(np.log((inside / inside.sum()) / (outside / outside.sum())))
    return (scale * np.sqrt(counts.sum() / (counts * scale**2).sum())).astype(np.float32)


def scaled(matrix, scale):
    parts = scale[matrix.indices], matrix.indices, matrix.indptr
    return normalize(sparse.csr_matrix(parts, matrix.shape), copy=False)


def suggest(trial, space):
    """Draws the values of a trial."""
    values = {}
    for dimension in space:
        if dimension["when"] and values.get(dimension["when"][0]) != dimension["when"][1]:
            continue
        name, form = dimension["name"], dimension["distribution"]
        match form["kind"]:
            case "choice":
                values[name] = trial.suggest_categorical(name, form["options"])
            case "int":
                values[name] = trial.suggest_int(name, form["low"], form["high"], step=form["step"])
            case "float":
                log = form.get("scale") == "log"
                values[name] = trial.suggest_float(name, form["low"], form["high"], log=log)
    return values


def open_study(baseline, seed):
    backend = JournalStorage(JournalFileBackend(f"{baseline.folder}/study.log"))
    return optuna.create_study(
        study_name="baseline",
        storage=backend,
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True),
        pruner=baseline.pruner,
    )


def work(options, space, baseline, valid, number):
    """One worker: draws, fits and reports until the study has all its trials."""

    def objective(trial):
        def report(epoch, predicted):
            trial.report(float(np.mean(predicted == valid)), epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        return float(np.mean(baseline.fit(suggest(trial, space), options.seed, report) == valid))

    study = open_study(baseline, options.seed * options.workers + number)
    begun = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    study.optimize(objective, callbacks=[MaxTrialsCallback(options.trials, states=begun)])


def search(options, space, baseline, valid):
    """Runs all workers and gives the trials and the best of them."""
    open_study(baseline, options.seed)
    fork = multiprocessing.get_context("fork")
    arguments = [(options, space, baseline, valid, n) for n in range(options.workers)]
    workers = [fork.Process(target=work, args=a) for a in arguments]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise SystemExit("a worker failed")
    study = open_study(baseline, options.seed)
    return study.trials, study.best_trial


def epochs(trial):
    """How many epochs ran: those reported, or all of a trial that reports none."""
    return len(trial.intermediate_values) or trial.params["epochs"]


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], np.array([row["label"] for row in rows])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("train", "valid", "space", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--test", type=Path, help="also predict the labels of these rows")
    parser.add_argument("--plain", action="store_true", help="search the plain way")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    kind = Plain if options.plain else Tuned
    space = json.loads(options.space.read_text())
    train, valid = read(options.train), read(options.valid)
    with tempfile.TemporaryDirectory() as folder:
        trials, best = search(options, space, kind(train, valid, folder), valid[1])
    result = {"seconds": time.perf_counter() - START, "import_seconds": IMPORTED - START}
    result |= {"trials": len(trials), "epochs": sum(map(epochs, trials))}
    result |= {"valid": best.value, "values": best.params}
    if options.test:
        with tempfile.TemporaryDirectory() as folder:
            baseline = kind(train, read(options.test), folder)
            result["test"] = baseline.fit(best.params, options.seed).tolist()
    options.out.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
