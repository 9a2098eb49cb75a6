"""An encoder of the BERT family with a classification head in plain PyTorch, over weights by
luthier-nn's names, and safetensors files to share them."""

import json
import struct

import numpy
import torch
import torch.nn.functional as F

ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
}
LINEARS = ["query", "key", "value", "output", "up", "down"]


def shapes(config, classes):
    """Names and shapes of all tensors, in luthier-nn's order."""
    hidden, wide = config["hidden"], config["intermediate"]
    yield "embeddings.words", (config["vocabulary"], hidden)
    yield "embeddings.positions", (config["positions"], hidden)
    yield "embeddings.types", (config["types"], hidden)
    yield "embeddings.norm.scale", (hidden,)
    yield "embeddings.norm.shift", (hidden,)
    for layer in range(config["layers"]):
        for norm in ["attention_norm", "output_norm"]:
            yield f"layers.{layer}.{norm}.scale", (hidden,)
            yield f"layers.{layer}.{norm}.shift", (hidden,)
        for linear in LINEARS:
            outputs = wide if linear == "up" else hidden
            inputs = wide if linear == "down" else hidden
            yield f"layers.{layer}.{linear}.weights", (outputs, inputs)
            yield f"layers.{layer}.{linear}.bias", (outputs,)
    yield "head.weights", (classes, hidden)
    yield "head.bias", (classes,)


def random_weights(config, classes, deviation, seed):
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes(config, classes):
        weights[name] = torch.randn(shape, generator=generator) * deviation
        if name.endswith(".scale"):
            weights[name] += 1.0
    return weights


def logits(config, weights, ids, types, mask):
    """Logits of padded `ids`, of which those count where `mask` is true; all do without one."""
    hidden, heads = config["hidden"], config["heads"]
    rows, length = ids.shape

    def linear(name, x):
        return F.linear(x, weights[name + ".weights"], weights[name + ".bias"])

    def norm(name, x):
        scale, shift = weights[name + ".scale"], weights[name + ".shift"]
        return F.layer_norm(x, (hidden,), scale, shift, config["epsilon"])

    def split(x):
        return x.view(rows, length, heads, -1).transpose(1, 2)

    positions = torch.arange(length) + config["first_position"]
    x = F.embedding(ids, weights["embeddings.words"])
    x = x + F.embedding(positions, weights["embeddings.positions"])
    if config["types"]:
        x = x + F.embedding(types, weights["embeddings.types"])
    x = norm("embeddings.norm", x)
    for layer in range(config["layers"]):
        part = f"layers.{layer}."
        query, key, value = (split(linear(part + name, x)) for name in LINEARS[:3])
        seen = None if mask is None else mask[:, None, None, :]
        context = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        context = context.transpose(1, 2).reshape(rows, length, hidden)
        x = norm(part + "attention_norm", x + linear(part + "output", context))
        wide = ACTIVATIONS[config["activation"]](linear(part + "up", x))
        x = norm(part + "output_norm", x + linear(part + "down", wide))
    if config["pooling"] == "first":
        pooled = x[:, 0]
    elif mask is None:
        pooled = x.mean(1)
    else:
        share = mask / mask.sum(1, keepdim=True)
        pooled = (x * share[:, :, None]).sum(1)
    return F.linear(pooled, weights["head.weights"], weights["head.bias"])


def padded(sequences):
    """Lists of numbers as rows of one tensor, and which of its places they fill."""
    length = max(map(len, sequences))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in sequences])
    mask = torch.tensor([[place < len(row) for place in range(length)] for row in sequences])
    return ids, mask


def adamw(weights, weight_decay, **options):
    """Without decay of biases and norms."""

    def kept(name):
        return name.endswith((".bias", ".scale", ".shift"))

    groups = [
        {"params": [w for n, w in weights.items() if not kept(n)], "weight_decay": weight_decay},
        {"params": [w for n, w in weights.items() if kept(n)], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, **options)


def save(path, tensors, metadata):
    header, chunks, offset = {"__metadata__": metadata}, [], 0
    for name, tensor in tensors.items():
        array = numpy.ascontiguousarray(tensor.detach().numpy().astype(numpy.float32))
        end = offset + array.nbytes
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, end]}
        chunks.append(array.tobytes())
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(chunks))


def load(path):
    data = memoryview(open(path, "rb").read())
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(bytes(data[8 : 8 + length]))
    header.pop("__metadata__", None)
    body = data[8 + length :]
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] == "F32":
            start, end = entry["data_offsets"]
            array = numpy.frombuffer(body[start:end], numpy.float32).reshape(entry["shape"])
            tensors[name] = torch.from_numpy(array.copy())
    return tensors
