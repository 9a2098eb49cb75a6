"""How fast trees answer, beside onnxruntime in the same run: LightGBM's trees in the form that the
product exports."""

import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import figures
import lightgbm
import numpy as np
import onnx
import onnxruntime
import product
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import make_classification

COLUMNS = 30
FORESTS = ((200, 31), (500, 63))
BATCHES = (1, 100, 10_000)
THREADS = (1, 2)
MICROSECONDS_OF_A_ROW = 3
TIMES = 3
TOLERANCE = 1e-5


def measure(quick, rounds):
    product.build_example("luthier-engine", "forest")
    found = []
    for trees, leaves in FORESTS[:1] if quick else FORESTS:
        with tempfile.TemporaryDirectory() as folder:
            found += forest(Path(folder), trees, leaves, 3 if quick else rounds or 9)
    return found


def forest(folder, trees, leaves, rounds):
    model, rows = fitted(trees, leaves)
    (folder / "model.onnx").write_bytes(model)
    rows.tofile(folder / "rows")
    name = f"trees: {trees} of {leaves} leaves"
    with Forest(folder) as ours:
        peers = {threads: session(model, threads) for threads in THREADS}
        found = [agreement(name, ours, peers[1], rows, folder)]
        for batch in BATCHES:
            for threads in THREADS[: 1 if batch == 1 else None]:
                found += timed(name, batch, threads, ours, peers[threads], rows, rounds)
    return found


def timed(name, batch, threads, ours, peer, rows, rounds):
    """Seconds of a call by turns, so that what else the machine does slows both."""
    own, other = [], []
    for _ in range(rounds):
        own.append(ours.seconds(batch, threads))
        other.append(seconds(peer, rows, batch))
    own, other = statistics.median(own), statistics.median(other)
    name = f"{name}: {batch} rows, threads: {threads}"
    how = f"onnxruntime {batch / other:,.0f} rows/s, ours {batch / own:,.0f}; median of {rounds}"
    ratio = f"{name}, rows per second over onnxruntime's"
    found = [figures.at_least(ratio, other / own, "x", TIMES, how)]
    if batch == 1 and "31 leaves" in name:
        figure, how = f"{name}, time of a call", "in the process"
        found.append(figures.below(figure, own * 1e6, "us", MICROSECONDS_OF_A_ROW, how))
    return found


def seconds(peer, rows, batch):
    """Seconds of a call to onnxruntime at the median, for a fifth of a second."""
    parts = len(rows) // batch
    begun, took = time.perf_counter(), []
    while time.perf_counter() - begun < 0.2:
        part = len(took) % parts
        fed = {"columns": rows[part * batch : (part + 1) * batch]}
        start = time.perf_counter()
        peer.run(["probabilities"], fed)
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def agreement(name, ours, peer, rows, folder):
    (expected,) = peer.run(["probabilities"], {"columns": rows})
    found = ours.answers(folder / "answers").reshape(expected.shape)
    difference = float(np.abs(found - expected).max())
    figure = f"{name}: largest difference from onnxruntime"
    return figures.at_most(figure, difference, "", TOLERANCE, f"{len(rows)} rows")


class Forest:
    """The product's engine, asked through the example that answers on standard output."""

    def __init__(self, folder):
        model, rows = folder / "model.onnx", folder / "rows"
        program = product.EXAMPLES / "forest"
        command = [program, model, "columns", "probabilities", rows, str(COLUMNS)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.program = subprocess.Popen(command, **pipes)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.program.stdin.close()
        self.program.wait()

    def ask(self, line):
        self.program.stdin.write(line + "\n")
        self.program.stdin.flush()
        return self.program.stdout.readline()

    def seconds(self, batch, threads):
        _, median = self.ask(f"time {batch} {threads} 0.2").split()
        return float(median)

    def answers(self, path):
        self.ask(f"write {path}")
        return np.fromfile(path, np.float32)


def session(model, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def fitted(trees, leaves):
    """Trees fitted to a generated table, as ONNX, and rows that they have not seen."""
    x, y = make_classification(30_000, COLUMNS, n_informative=12, random_state=0)
    x = x.astype(np.float32)
    settings = {"objective": "binary", "num_leaves": leaves, "seed": 0}
    data = lightgbm.Dataset(x[:20_000], y[:20_000])
    quiet = {"verbose": -1, "num_threads": 1}
    booster = lightgbm.train(settings | quiet, data, num_boost_round=trees)
    return to_onnx(booster.dump_model()["tree_info"]), x[20_000:]


NAMES = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")


def to_onnx(trees):
    """The form that the product exports."""
    lists, leaves = lists_of(trees)
    of_trees, of_nodes, weights = zip(*leaves, strict=True)
    ensemble = helper.make_node(
        "TreeEnsembleRegressor", ["columns"], ["margins"], domain="ai.onnx.ml", n_targets=1,
        target_treeids=of_trees, target_nodeids=of_nodes, target_ids=[0] * len(leaves),
        target_weights=weights, **{f"nodes_{name}": values for name, values in lists.items()},
    )  # fmt: skip
    nodes = [
        ensemble,
        helper.make_node("MatMul", ["margins", "spread"], ["spread_margins"]),
        helper.make_node("Add", ["spread_margins", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    constants = {"spread": [[0, 1]], "bias": [0, 0.1]}
    tensors = [numpy_helper.from_array(np.array(v, np.float32), k) for k, v in constants.items()]
    fed = helper.make_tensor_value_info("columns", TensorProto.FLOAT, ["batch", COLUMNS])
    given = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    graph = helper.make_graph(nodes, "trees", [fed], [given], tensors)
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def lists_of(trees):
    """Lists of nodes in the order of trees and numbers, for onnxruntime takes the first node of a
    tree for its root; and leaves with their trees, numbers and values."""
    told, leaves = {}, []
    for tree, dump in enumerate(trees):
        count, waiting = 1, [(0, dump["tree_structure"])]
        while waiting:
            number, node = waiting.pop()
            if "leaf_value" in node:
                leaves.append((tree, number, node["leaf_value"]))
                told[tree, number] = (0, 0.0, "LEAF", 0, 0)
                continue
            threshold = rounded_down(node["threshold"])
            feature = node["split_feature"]
            told[tree, number] = (feature, threshold, "BRANCH_LEQ", count, count + 1)
            waiting += [(count, node["left_child"]), (count + 1, node["right_child"])]
            count += 2
    rows = [(*place, *told[place]) for place in sorted(told)]
    return dict(zip(NAMES, zip(*rows, strict=True), strict=True)), leaves


def rounded_down(threshold):
    """The 32-bit number that the same numbers of 32 bits are at most as are at most `threshold`."""
    rounded = np.float32(threshold)
    too_large = rounded > threshold
    return float(np.nextafter(rounded, np.float32(-np.inf)) if too_large else rounded)
