#!/usr/bin/env python3
"""Checks that bundles answer the same in ONNX Runtime, in the engine and as stored.

    check.py <luthier binary> <bundle>...

ONNX Runtime runs `model.onnx` on features that `ngrams.py` finds. Its probabilities must be those
of the bundle's probes (for a model as trained: those of the network in memory) and the scores that
`luthier predict` gives to the texts of the example and to awkward ones.
"""

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

from ngrams import NgramText

TOLERANCE = 1e-5
EXAMPLE = Path(__file__).resolve().parents[2] / "examples/sentiment/data/test.csv"
AWKWARD = [
    "",
    " \t\r\n ",
    "don't 'quote' O'Neil's rock'n'roll '",
    "ＦＵＬＬ　ｗｉｄｔｈ！ und Größe, İstanbul, ΣΊΣΥΦΟΣ, ЁЛКА",
    "送餐太慢了,等了一个半小时 2.5h",
    "とても良い映画でした。 정말 재미있어요",
    "a\u0000b\u0007c\u2028d\u00a0e\u200bf",
    "👍🏽 10/10 ½ ² Ⅷ x\u0301 — “so-so”…",
    "good " * 400,
    "𠀀𠮷 ﬁne \ufeff",
]


def main(binary, bundles):
    texts = read_texts(EXAMPLE) + AWKWARD
    worst = 0.0
    for bundle in bundles:
        probes, engine = differences(binary, bundle, texts)
        print(f"{bundle}: probes within {probes:.1e}, {len(texts)} texts within {engine:.1e}")
        worst = np.max([worst, probes, engine])
    if not worst <= TOLERANCE:
        sys.exit(f"ONNX Runtime differs by {worst:.1e}, more than {TOLERANCE:.0e}")


def differences(binary, bundle, texts):
    """Largest difference of ONNX Runtime from the stored probes, and from the engine on `texts`."""
    bundle = Path(bundle)
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    preprocess = NgramText(manifest["preprocess"], (bundle / "features.idx").read_bytes())
    session = onnxruntime.InferenceSession(bundle / "model.onnx")
    stored = np.array([probe["probabilities"] for probe in manifest["probes"]])
    found = probabilities(session, preprocess, [probe["text"] for probe in manifest["probes"]])
    scores = engine_scores(binary, bundle, texts)
    answered = decided(manifest["decision"], probabilities(session, preprocess, texts))
    return np.abs(found - stored).max(), np.abs(answered - scores).max()


def probabilities(session, preprocess, texts):
    ids, weights = preprocess.tensors(texts)
    return session.run(["probabilities"], {"ids": ids, "weights": weights})[0]


def decided(decision, probabilities):
    """What `predict` calls the score: of the positive class, or of the class answered."""
    positive = decision.get("positive")
    return probabilities.max(axis=1) if positive is None else probabilities[:, positive]


def engine_scores(binary, bundle, texts):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as rows:
        rows.writelines(json.dumps({"text": text}) + "\n" for text in texts)
        rows.flush()
        command = [binary, "predict", bundle, "--input", rows.name, "--format", "json"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return np.array([json.loads(line)["score"] for line in done.stdout.splitlines()])


def read_texts(path):
    with open(path, newline="", encoding="utf-8") as file:
        return [row["text"] for row in csv.DictReader(file)]


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__.split("\n\n")[1].strip())
    main(sys.argv[1], sys.argv[2:])
