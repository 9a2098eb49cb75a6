"""Writes fixtures/*.safetensors: small encoders with PyTorch's logits, gradients and training.

python fixtures.py, with torch 2.15 and numpy."""

import json
import math
import pathlib
import random

import torch
import torch.nn.functional as F

import reference

SMALL = {
    "vocabulary": 23, "hidden": 8, "layers": 2, "heads": 2, "intermediate": 12, "positions": 11,
    "first_position": 0, "types": 2, "activation": "gelu", "epsilon": 1e-12, "pooling": "first",
}
VARIANTS = {
    "bert": (SMALL, 3, {"rate": 1e-3, "decay": "constant", "warmup": 0.0, "clip": None}),
    "distilbert": (
        {**SMALL, "types": 0, "activation": "relu", "pooling": "mean"},
        2,
        {"rate": 2e-3, "decay": "linear", "warmup": 0.1, "clip": 0.05},
    ),
    "roberta": (
        {**SMALL, "types": 1, "first_position": 2, "activation": "gelu_tanh", "epsilon": 1e-5},
        4,
        {"rate": 2e-3, "decay": "cosine", "warmup": 0.2, "clip": None},
    ),
}
STEPS = 100


def rate(schedule, step):
    """Of a step counted from 0."""
    warmup = round(schedule["warmup"] * STEPS)
    if step < warmup:
        return schedule["rate"] * (step + 1) / warmup
    progress = (step - warmup) / (STEPS - warmup)
    shares = {
        "constant": 1.0, "linear": 1.0 - progress, "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
    }
    return schedule["rate"] * shares[schedule["decay"]]


def write(name, config, classes, schedule):
    random.seed(name)
    torch.manual_seed(1)
    weights = reference.random_weights(config, classes, 0.3, 5)
    lengths = [5, 1, config["positions"] - config["first_position"], 3]
    sequences = [[random.randrange(config["vocabulary"]) for _ in range(n)] for n in lengths]
    types = [[random.randrange(max(config["types"], 1)) for _ in row] for row in sequences]
    labels = [index % classes for index in range(len(lengths))]
    tensors = {f"weights.{k}": w.clone() for k, w in weights.items()}
    ids, mask = reference.padded(sequences)
    type_ids, _ = reference.padded(types)

    def loss_of():
        logits = reference.logits(config, weights, ids, type_ids, mask)
        return logits, F.cross_entropy(logits, torch.tensor(labels))

    for tensor in weights.values():
        tensor.requires_grad_()
    logits, loss = loss_of()
    loss.backward()
    tensors["logits"] = logits
    for k, w in weights.items():
        tensors[f"gradients.{k}"] = w.grad.clone() if w.numel() else w.detach()
    optimizer = reference.adamw({k: w for k, w in weights.items() if w.numel()}, 0.01, lr=1.0)
    for step in range(STEPS):
        optimizer.zero_grad()
        _, loss = loss_of()
        loss.backward()
        if schedule["clip"]:
            torch.nn.utils.clip_grad_norm_(weights.values(), schedule["clip"])
        for group in optimizer.param_groups:
            group["lr"] = rate(schedule, step)
        optimizer.step()
    tensors["trained_logits"] = loss_of()[0]
    facts = {
        "config": config, "classes": classes, "schedule": schedule, "steps": STEPS,
        "sequences": sequences, "types": types, "labels": labels,
    }
    path = pathlib.Path(__file__).parent / "fixtures" / f"{name}.safetensors"
    reference.save(path, tensors, {"facts": json.dumps(facts)})


for variant, parts in VARIANTS.items():
    write(variant, *parts)
