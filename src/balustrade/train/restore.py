"""Read an encoder's weights back out of the ONNX graph that `export.py` writes.

What comes back is what serves: dense weights as int8 had them, piece vectors in four bits. A round
of teaching that begins there needs nothing but what was shipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from balustrade.models.encoder import GROUP, Encoder, Shape

Floats = NDArray[np.float32]


def restored(path: Path) -> Encoder:
    """Return the encoder that a graph was written from, but for the rounding.

    Raises:
        ValueError: The graph is not one of ours.
    """
    graph = onnx.load(path).graph
    values = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    if "piece.nibbles" not in values:
        message = f"{path}: no table of pieces in four bits, so it is not a graph of export.py"
        raise ValueError(message)
    pieces = _pieces(values["piece.nibbles"], values["piece.scales"])
    norms = [node for node in graph.node if node.op_type == "LayerNormalization"]
    dense = [node for node in graph.node if node.op_type == "MatMulIntegerToFloat"]
    layers = len(dense) // 4
    weights: dict[str, Floats] = {
        "piece.weight": pieces,
        "position.weight": next(
            values[node.input[0]] for node in graph.node if node.op_type == "Slice"
        ),
        "segment.weight": next(
            values[node.input[0]] for node in graph.node if node.input[1:] == ["segments"]
        ),
    }
    names = ["norm"]
    for layer in range(layers):
        names += [f"blocks.{layer}.norm1", f"blocks.{layer}.norm2"]
        for part, node in zip(("mix", "out", "up", "down"), dense[4 * layer :], strict=False):
            name = f"blocks.{layer}.{part}"
            weights[f"{name}.weight"] = _matrix(node, values, makers).T
            weights[f"{name}.bias"] = values[node.input[6]]
    for name, node in zip(names, norms, strict=True):
        weights[f"{name}.weight"], weights[f"{name}.bias"] = (
            values[each] for each in node.input[1:]
        )
    heads = [
        values[node.input[1]].T
        for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in values
    ]
    weights["query.weight"], weights["local.weight"], weights["whole.weight"] = heads
    weights["whole.bias"] = next(
        values[node.input[1]]
        for node in graph.node
        if node.op_type == "Add"
        and node.input[1] in values
        and makers[node.input[0]].op_type == "MatMul"
    )
    width = pieces.shape[1]
    inner = weights["blocks.0.up.bias"].shape[0]
    shape = Shape(
        len(pieces), len(weights["whole.bias"]), width, layers, width // 32, inner,
        len(weights["position.weight"]),
    )  # fmt: skip
    model = Encoder(shape)
    model.load_state_dict(
        {name: torch.from_numpy(np.array(value, np.float32)) for name, value in weights.items()}
    )
    return model


def _pieces(packed: NDArray[np.uint8], scales: NDArray[np.float16]) -> Floats:
    numbers = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32) - 8
    return numbers * np.repeat(scales.astype(np.float32), GROUP, axis=1)


def _matrix(
    node: onnx.NodeProto, values: dict[str, NDArray[Any]], makers: dict[str, onnx.NodeProto]
) -> Floats:
    """Return a dense layer's matrix, shape (inputs, outputs), as it was before it was smoothed."""
    matrix: Floats = values[node.input[1]].astype(np.float32) * values[node.input[3]]
    before = makers[makers[node.input[0]].input[0]]
    if before.op_type == "Mul" and before.input[1] in values:
        matrix = matrix * values[before.input[1]][:, None]
    return matrix
