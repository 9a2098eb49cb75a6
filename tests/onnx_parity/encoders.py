#!/usr/bin/env python3
"""Checks that exported encoders answer the same in ONNX Runtime as in PyTorch.

    encoders.py <encoder_onnx binary> <Hugging Face folder>...

The binary is the example of `luthier-train`. Needs `requirements.txt` and onnxruntime.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import transformers
from tokenizers import Tokenizer

TOLERANCE = 1e-4
CLASSES = 3
TEXTS = [
    "a good film",
    "the plot is bad and the end is worse than all of it , bad bad bad",
    "",
    "送餐太慢了 Größe ☃",
    "good bad " * 9,
]


def main(binary, folders):
    # Checkpoints have heads that an encoder does not use, which is no news.
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    worst = 0.0
    for folder in folders:
        for pooling in ("first", "mean"):
            found = difference(binary, folder, pooling)
            print(f"{folder}, {pooling}: logits within {found:.1e}")
            worst = max(worst, found)
    if not worst <= TOLERANCE:
        sys.exit(f"ONNX Runtime differs by {worst:.1e}, more than {TOLERANCE:.0e}")


@torch.no_grad()
def difference(binary, folder, pooling):
    """Largest difference of any logit, relative above 1."""
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    pad = model.config.pad_token_id
    torch.manual_seed(0)
    head = torch.nn.Linear(model.config.hidden_size, CLASSES)
    tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    tokenizer.enable_truncation(model.config.max_position_embeddings - 1 - pad)
    tokenizer.enable_padding(pad_id=pad)
    texts = tokenizer.encode_batch(TEXTS)
    ids = np.array([text.ids for text in texts], np.int64)
    mask = np.array([text.attention_mask for text in texts], np.int64)
    states = model(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask)).last_hidden_state
    shown = torch.tensor(mask).unsqueeze(-1)
    pooled = states[:, 0] if pooling == "first" else (states * shown).sum(1) / shown.sum(1)
    expected = head(pooled).numpy()
    session = onnxruntime.InferenceSession(exported(binary, folder, head, pooling))
    inputs = {"input_ids": ids, "attention_mask": mask}
    (logits,) = session.run(["logits"], inputs)
    (probabilities,) = session.run(["probabilities"], inputs)
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)
    empty = dict(inputs, attention_mask=np.zeros_like(mask))
    assert np.isfinite(session.run(["probabilities"], empty)[0]).all()
    return float((np.abs(logits - expected) / np.maximum(1, np.abs(expected))).max())


def exported(binary, folder, head, pooling):
    """The checked ONNX model, which gives its logits too."""
    with tempfile.TemporaryDirectory() as scratch:
        weights = {
            "weights": head.weight.flatten().tolist(),
            "bias": head.bias.tolist(),
        }
        (Path(scratch) / "head.json").write_text(json.dumps(weights))
        out = Path(scratch) / "model.onnx"
        subprocess.run([binary, folder, Path(scratch) / "head.json", pooling, out], check=True)
        model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    assert model.opset_import[0].version <= 21
    logits = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, None)
    model.graph.output.append(logits)
    return model.SerializeToString()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
