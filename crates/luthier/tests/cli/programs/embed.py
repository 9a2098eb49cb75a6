"""Trains a classifier of texts with nothing but Python, and leaves it as an ONNX graph.

Words are looked up in a table of embeddings, whose mean is multiplied by a matrix. `WEIGHTS` in the
environment names a file that the graph keeps its table in; it is in the graph where that is absent.
"""

import csv
import json
import math
import os
import random
import struct
import sys

WIDTH = 16
PAD, UNKNOWN, START = range(3)


def main():
    trial = json.load(sys.stdin)
    values, data = trial["values"], trial["data"]
    os.chdir(trial["folder"])
    generator = random.Random(trial["seed"])
    train, valid = read(data["train"], data), read(data["valid"], data)
    vocabulary = {"[PAD]": PAD, "[UNK]": UNKNOWN, "[CLS]": START}
    for text, _ in train:
        for word in text.lower().split():
            vocabulary.setdefault(word, len(vocabulary))
    model = Model(vocabulary, len(data["labels"]), generator)
    for epoch in range(8):
        for text, label in train:
            model.learn(text, label, values["learning_rate"])
        right = sum(max(range(model.classes), key=model.logits(t).__getitem__) == y for t, y in valid)
        print(json.dumps({"step": epoch, trial["objective"]["metric"]: right / len(valid)}))
    with open("predictions.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(data["labels"])
        table.writerows(softmax(model.logits(text)) for text, _ in valid)
    # The graph gives the classes in an order of its own.
    labels = list(reversed(data["labels"]))
    with open("model.onnx", "wb") as file:
        file.write(model.onnx(os.environ.get("WEIGHTS")))
    write("tokenizer.json", tokenizer(vocabulary))
    write("model.json", {
        "tokenizer": "tokenizer.json",
        "max_length": 32,
        "inputs": {"ids": "input_ids", "mask": "attention_mask"},
        "output": {"name": "logits", "gives": "logits"},
        "labels": labels,
    })


def read(path, data):
    with open(path, newline="", encoding="utf-8") as file:
        labels = {label: number for number, label in enumerate(data["labels"])}
        rows = csv.DictReader(file)
        return [(row[data["text"][0]], labels[row[data["label"]].strip()]) for row in rows]


def write(name, document):
    with open(name, "w", encoding="utf-8") as file:
        json.dump(document, file, ensure_ascii=False)


def softmax(logits):
    largest = max(logits)
    powers = [math.exp(logit - largest) for logit in logits]
    return [power / sum(powers) for power in powers]


def tokenizer(vocabulary):
    """What the library `tokenizers` writes of words between blanks, with a token ahead of them."""
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    start = {"SpecialToken": {"id": "[CLS]", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    second = {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": vocabulary[name], "content": name, "special": True, **special}
            for name in ("[PAD]", "[UNK]", "[CLS]")
        ],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [start, text],
            "pair": [start, text, second],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [START], "tokens": ["[CLS]"]}},
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    }


class Model:
    def __init__(self, vocabulary, classes, generator):
        self.vocabulary, self.classes = vocabulary, classes
        row = lambda size: [generator.gauss(0, 0.3) for _ in range(size)]
        self.table = [row(WIDTH) for _ in vocabulary]
        self.matrix = [row(classes) for _ in range(WIDTH)]

    def ids(self, text):
        return [START] + [self.vocabulary.get(word, UNKNOWN) for word in text.lower().split()][:31]

    def mean(self, ids):
        return [sum(self.table[i][k] for i in ids) / len(ids) for k in range(WIDTH)]

    def logits(self, text):
        mean = self.mean(self.ids(text))
        return [sum(m * row[c] for m, row in zip(mean, self.matrix)) for c in range(self.classes)]

    def learn(self, text, label, rate):
        ids = self.ids(text)
        mean = self.mean(ids)
        errors = softmax(self.logits(text))
        errors[label] -= 1
        back = [sum(e * w for e, w in zip(errors, row)) / len(ids) for row in self.matrix]
        for m, row in zip(mean, self.matrix):
            for c, error in enumerate(errors):
                row[c] -= rate * error * m
        for i in ids:
            for k, b in enumerate(back):
                self.table[i][k] -= rate * b

    def onnx(self, weights_file):
        table = [x for row in self.table for x in row]
        matrix = [x for row in self.matrix for x in reversed(row)]
        ragged = ["batch", "tokens"]
        graph = [
            *(node(*parts) for parts in [
                ("Gather", ["table", "input_ids"], "rows"),
                ("Cast", ["attention_mask"], "mask", {"to": FLOAT}),
                ("Unsqueeze", ["mask", "last"], "column"),
                ("Mul", ["rows", "column"], "counted"),
                ("ReduceSum", ["counted", "middle"], "sum", {"keepdims": 0}),
                ("ReduceSum", ["mask", "middle"], "count", {"keepdims": 1}),
                ("Div", ["sum", "count"], "mean"),
                ("MatMul", ["mean", "matrix"], "logits"),
            ]),
            field(2, "embed"),
            tensor("table", [len(self.table), WIDTH], FLOAT, floats(table), weights_file),
            tensor("matrix", [WIDTH, self.classes], FLOAT, floats(matrix)),
            tensor("last", [1], INT64, struct.pack("<q", 2)),
            tensor("middle", [1], INT64, struct.pack("<q", 1)),
            value(11, "input_ids", INT64, ragged),
            value(11, "attention_mask", INT64, ragged),
            value(12, "logits", FLOAT, ["batch", self.classes]),
        ]
        opset = field(8, field(1, "") + field(2, 17))
        return field(1, 8) + opset + field(7, b"".join(graph))


# The messages of onnx.proto, field by field.

FLOAT, INT64 = 1, 7


def field(number, content):
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number):
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def floats(numbers):
    return struct.pack(f"<{len(numbers)}f", *numbers)


def node(op, inputs, output, attributes={}):
    INT = 2
    content = [field(1, name) for name in inputs]
    content += [field(2, output), field(3, f"{op}/{output}"), field(4, op)]
    content += [field(5, field(1, name) + field(3, number) + field(20, INT))
                for name, number in attributes.items()]
    return field(1, b"".join(content))


def tensor(name, sizes, kind, data, file=None):
    content = b"".join(field(1, size) for size in sizes) + field(2, kind) + field(8, name)
    if file is None:
        return field(5, content + field(9, data))
    entries = {"location": file, "offset": "64", "length": str(len(data))}
    if "/" not in file:
        with open(file, "wb") as target:
            target.write(bytes(64) + data)
    content += b"".join(field(13, field(1, k) + field(2, v)) for k, v in entries.items())
    return field(5, content + field(14, 1))


def value(number, name, kind, sizes):
    dims = [field(1, field(2, size) if isinstance(size, str) else field(1, size)) for size in sizes]
    shape = field(2, b"".join(dims))
    return field(number, field(1, name) + field(2, field(1, field(1, kind) + shape)))


main()
