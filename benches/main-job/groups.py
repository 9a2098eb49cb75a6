"""What is measured, a group of figures at a time. `http_load.py` has the server's."""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import product
from figures import accuracy, at_least, at_most, below, mcnemar, told
from product import CHECKOUT, Parts, say

sys.path.insert(0, str(CHECKOUT / "tests" / "onnx_parity"))
import check as onnx_parity

BASELINE = Path(__file__).with_name("baseline.py")
SIGNIFICANT = 0.05
# A set of 3,000 rows says another thing with every way of cutting it into folds.
SPLIT_SEEDS = (42, 43, 44)


@dataclass
class Settings:
    """How much is measured, and where jobs may be written."""

    quick: bool
    rounds: int | None
    scratch: Path

    @property
    def trials(self):
        return 3 if self.quick else 30

    def repeats(self, usual):
        """Rounds of a measurement: as asked for, else `usual`, and one where time is short."""
        return 1 if self.quick else self.rounds or usual

    def sets(self, *names):
        """The data sets that are there, by name; one of them where time is short."""
        found = {name: product.data_set(name) for name in names[: 1 if self.quick else None]}
        return {name: parts for name, parts in found.items() if parts}


def example(settings):
    """The shipped example, from rows to bundle."""
    folder, rounds = settings.scratch / "example", settings.repeats(3)
    runs = [product.run(product.example_job(folder), settings.trials) for _ in range(rounds)]
    how = f"luthier run in a fresh folder, {settings.trials} trials; median of {rounds}"
    return [below("example: wall time", median(run.seconds for run in runs), "s", 20, how)]


def test_accuracy(settings):
    """Test accuracy of finished bundles, and a paired comparison with both baselines'."""
    return over_seeds(settings) + ([] if settings.quick else over_folds(settings))


def over_seeds(settings):
    figures = []
    targets = {"sst2": 0.815, "zh_waimai": 0.895}
    seeds = range(1 if settings.quick else 3)
    for name, parts in settings.sets(*targets).items():
        answers = [all_predict(settings, name, parts, seed) for seed in seeds]
        average = f"mean over {len(answers)} seed(s)"
        figures += accuracy_figures(name, answers, targets[name], average, paired=answers)
    return figures


def over_folds(settings):
    figures = []
    for name, parts in settings.sets("uci_sentences").items():
        splits = []
        for seed in SPLIT_SEEDS:
            folds = five_folds(settings.scratch / f"folds-{seed}", parts, seed)
            splits.append([all_predict(settings, name, fold, 0) for fold in folds])
        answers = sum(splits, [])
        together = [[sum(columns, []) for columns in zip(*split)] for split in splits]
        average = f"mean over 5 folds of {len(splits)} splits"
        figures += accuracy_figures(name, answers, 0.835, average, paired=together)
    return figures


def all_predict(settings, name, parts, seed):
    """Truth, our answers, the plain and the tuned baseline's on the test rows of one search each."""
    say(f"  {name}, seed {seed}")
    folder = product.job(settings.scratch / "accuracy", "bench", parts, "accuracy")
    run = product.run(folder, settings.trials, seed)
    truth = [row["label"] for row in product.rows(parts.test)]
    ours = product.predict(run.folder / "bundle", parts.test)
    theirs = [
        baseline(settings, run, parts, seed, "--test", parts.test, *how)["test"]
        for how in (["--plain"], [])
    ]
    return truth, ours, *theirs


def accuracy_figures(name, answers, target, average, paired):
    """Accuracy averaged over `answers`, and how many of `paired` are lost to each baseline."""
    ours, plain, tuned = (mean(accuracy(a[0], a[side]) for a in answers) for side in (1, 2, 3))
    average = f"{average}; the plain baseline's {plain:.4f}, the tuned one's {tuned:.4f}"
    worse = f"accuracy: {name}, significantly worse than the"
    lost_to_plain, against_plain = lost([(a[0], a[1], a[2]) for a in paired])
    lost_to_tuned, against_tuned = lost([(a[0], a[1], a[3]) for a in paired])
    tests = f"of {len(paired)}"
    return [
        at_least(f"accuracy: {name}", ours, "share", target, average),
        at_most(f"{worse} plain baseline", lost_to_plain, tests, 0, against_plain),
        told(f"{worse} tuned baseline", lost_to_tuned, tests, against_tuned),
    ]


def lost(answers):
    """How many of the triples (truth, ours, theirs) are significantly theirs, and the tests."""
    tests = [mcnemar(*each) for each in answers]
    counts = ", ".join(f"{b}:{c} p={p:.3f}" for b, c, p in tests)
    how = f"exact McNemar, Holm; rows only ours has right : only the baseline: {counts}"
    return len(holm([p for b, c, p in tests if c > b], len(tests))), how


def holm(values, tests):
    """The p-values that stay significant where `tests` were made (Holm 1979)."""
    kept = []
    for place, p in enumerate(sorted(values)):
        if p >= SIGNIFICANT / (tests - place):
            break
        kept.append(p)
    return kept


def five_folds(folder, parts, seed):
    """Stratified folds over all rows; each is the test once, validation rows come off the rest."""
    folder.mkdir(parents=True, exist_ok=True)
    every = product.join(vars(parts).values(), folder / "all.csv")
    seeded = "--seed", str(seed)
    product.luthier("data", "split", every, "--folds", "5", "--out", folder, *seeded)
    folds = [folder / f"fold{n}.csv" for n in range(5)]
    for n, fold in enumerate(folds):
        inner = folder / str(n)
        inner.mkdir()
        rest = product.join([other for other in folds if other != fold], inner / "rest.csv")
        product.luthier("data", "split", rest, "--valid", "0.15", "--test", "0", "--out", inner)
        yield Parts(inner / "train.csv", inner / "valid.csv", fold)


def speed(settings):
    """Wall time of a search over learner `linear`, from start to its end, against both baselines'."""
    figures = []
    for name, parts in settings.sets("sst2", "zh_shopping10").items():
        rounds = settings.repeats(3 if name == "sst2" else 1)
        races = []
        for number in range(1, rounds + 1):
            races.append(race(settings, parts))
            ours, plain, tuned = (f"{side['seconds']:.2f} s" for side in races[-1])
            say(f"  {name}, round {number} of {rounds}: {ours}, plain {plain}, tuned {tuned}")
        figures += speed_figures(name, races)
    return figures


def race(settings, parts):
    """Our search, the plain and the tuned baseline's: seconds, epochs and more."""
    only_linear = 'learners = ["linear"]'
    folder = settings.scratch / "speed"
    product.job(folder, "bench", parts, "accuracy", only_linear, compress=False)
    run = product.run(folder, settings.trials)
    tuning = run.read("report.json")["tuning"]
    epochs = sum(len(trial["steps"]) for trial in tuning["trials"])
    ours = {"seconds": run.searched, "whole": run.seconds, "epochs": epochs}
    return ours, baseline(settings, run, parts, 0, "--plain"), baseline(settings, run, parts, 0)


def speed_figures(name, races):
    ours, plain, tuned = zip(*races)

    def middle(side, key):
        return median(result[key] for result in side)

    def how(side, what):
        return f"{what}; {middle(side, 'epochs'):.0f} epochs; median of {len(races)}"

    def search(side):
        what = f"start to end of search, {middle(side, 'import_seconds'):.1f} s of it imports"
        return how(side, what)

    wall, plainly, carefully = (middle(side, "seconds") for side in (ours, plain, tuned))
    return [
        told(f"speed: {name}, ours", wall, "s", how(ours, "start to end of search")),
        told(f"speed: {name}, whole run", middle(ours, "whole"), "s", "from data to report"),
        told(f"speed: {name}, plain baseline", plainly, "s", search(plain)),
        at_least(f"speed: {name}, ratio", plainly / wall, "x", 10, "plain baseline over ours"),
        told(f"speed: {name}, tuned baseline", carefully, "s", search(tuned)),
        told(f"speed: {name}, tuned ratio", carefully / wall, "x", "tuned baseline over ours"),
    ]


def baseline(settings, run, parts, seed, *options):
    """The result of `baseline.py` on the space that `run` searched."""
    with tempfile.TemporaryDirectory(dir=settings.scratch) as folder:
        space, out = Path(folder) / "space.json", Path(folder) / "result.json"
        space.write_text(json.dumps(product.linear_space(run.folder)))
        command = [sys.executable, BASELINE, "--train", parts.train, "--valid", parts.valid]
        command += ["--space", space, "--out", out, "--seed", str(seed), "--workers", "2"]
        command += ["--trials", str(settings.trials)]
        subprocess.run([*command, *options], check=True)
        return json.loads(out.read_text())


def compression(settings):
    """Bytes and validation F1 of bundles before and after compression."""
    jobs = {"example": product.example_job(settings.scratch / "compress-example")}
    for name, parts in settings.sets("sst2", "zh_waimai", "uci_sentences").items():
        jobs[name] = product.job(settings.scratch / f"compress-{name}", "bench", parts, "f1")
    runs = {name: product.run(folder, settings.trials) for name, folder in jobs.items()}
    ratios = {name: times_smaller(run) for name, run in runs.items()}
    drops = {name: f1_drop(run) for name, run in runs.items()}
    size, rows = "all files of the bundle", "validation rows"
    small, lossy = min(ratios, key=ratios.get), max(drops, key=drops.get)
    figures = [told(f"compress: {name}, times smaller", ratios[name], "x", size) for name in runs]
    figures += [told(f"compress: {name}, F1 lost", drops[name], "", rows) for name in runs]
    return figures + [
        at_least("compress: worst times smaller", ratios[small], "x", 4, small),
        at_most("compress: worst F1 lost", drops[lossy], "", 0.01, lossy),
    ]


def times_smaller(run):
    def size(bundle):
        return sum(file.stat().st_size for file in (run.folder / bundle).iterdir())

    return size("model") / size("compressed")


def f1_drop(run):
    found = run.read("compression.json")
    scores = [candidate["judgement"]["score"] for candidate in found["candidates"]]
    return scores[0] - scores[found["chosen"]]


def parity(settings):
    """Answers of ONNX Runtime, of the engine and of the network in memory."""
    jobs = {"example": (product.example_job(settings.scratch / "parity-example"), None)}
    for name, parts in settings.sets("sst2", "zh_waimai").items():
        folder = product.job(settings.scratch / f"parity-{name}", "bench", parts, "f1")
        jobs[name] = folder, parts
    figures = []
    for name, (folder, parts) in jobs.items():
        run = product.run(folder, settings.trials)
        test = parts.test if parts else onnx_parity.EXAMPLE
        texts = onnx_parity.read_texts(test)[:200] + onnx_parity.AWKWARD
        for bundle in ("model", "compressed"):
            figures += parity_figures(f"parity: {name}, {bundle}", run.folder / bundle, texts)
    return figures


def parity_figures(figure, bundle, texts):
    probes, engine = onnx_parity.differences(product.BINARY, bundle, texts)
    stored = "network in memory" if bundle.name == "model" else "compressed graph in the engine"
    how = f"ONNX Runtime against the {stored}, largest difference on the probes"
    against = f"ONNX Runtime against the engine, largest difference on {len(texts)} texts"
    tolerance = onnx_parity.TOLERANCE
    return [
        at_most(f"{figure}, probes", float(probes), "", tolerance, how),
        at_most(f"{figure}, texts", float(engine), "", tolerance, against),
    ]
