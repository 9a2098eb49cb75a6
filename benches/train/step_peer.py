"""The other half of step.py: trains the same network in PyTorch, by the protocol of the example
`step` of luthier-nn."""

import json
import resource
import struct
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "crates/luthier-nn/tests"))
import reference


def facts(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(json.loads(file.read(length))["__metadata__"]["facts"])


def main(path, threads):
    torch.set_num_threads(int(threads))
    known = facts(path)
    config = known["config"]
    weights = reference.load(path)
    weights = {name: tensor.requires_grad_() for name, tensor in weights.items() if tensor.numel()}
    ids, mask = reference.padded(known["sequences"])
    types, labels = torch.zeros_like(ids), torch.tensor(known["labels"])
    if mask.all():
        # What is true of all keys need not be looked at.
        mask = None
    optimizer = reference.adamw(weights, 0.01, lr=2e-5, fused=True)
    for line in sys.stdin:
        answer = {"seconds": [], "processor": [], "losses": []}
        for _ in range(int(line)):
            start, used = time.perf_counter(), time.process_time()
            optimizer.zero_grad()
            logits = reference.logits(config, weights, ids, types, mask)
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
            answer["losses"].append(loss.item())
            answer["seconds"].append(time.perf_counter() - start)
            answer["processor"].append(time.process_time() - used)
        answer["peak_kib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps(answer), flush=True)
    with torch.no_grad():
        logits = reference.logits(config, weights, ids, types, mask)
    print(json.dumps(logits.flatten().tolist()), flush=True)


main(*sys.argv[1:])
