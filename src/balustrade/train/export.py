"""Write an encoder as an ONNX graph of small integers.

Dense layers hold int8 weights with one scale a column. Their inputs are quantised by scales fixed
beforehand, from what texts showed (`ranges`), so that a text's score does not hang on the texts
beside it; numbers that run high in some columns are first moved into the weights (SmoothQuant: Xiao
et al. 2022, arXiv 2211.10438). Piece vectors are four bits wide, with one scale for every `GROUP`
numbers. The graph is written node by node: the same weights are the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from balustrade.models.encoder import GROUP, Encoder, Shape
from balustrade.train.align import batches
from balustrade.train.hearing import KINDS, Shares

Floats = NDArray[np.float32]

OPSET = 20
SMOOTH = 2.0
"""Times the median column's height above which a column is lowered (the best of 1.5, 2, 3, 4)."""


def four_bits(table: Floats) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Return a table as packed nibbles, two numbers a byte, and the scales of its groups.

    Args:
        table: Shape (rows, width); `width` is a multiple of twice `GROUP`.

    Returns:
        Bytes of shape (rows, width / 2): the first half of a row in the low nibbles, the second in
        the high ones, each 8 + number / scale; scales of shape (rows, width / GROUP).
    """
    rows, width = table.shape
    groups = table.reshape(rows, width // GROUP, GROUP)
    scales = (np.abs(groups).max(axis=2) / 7).astype(np.float16)
    scales[scales == 0] = np.float16(1e-7)
    steps = np.rint(groups / scales.astype(np.float32)[..., None])
    numbers = (np.clip(steps, -7, 7) + 8).astype(np.uint8).reshape(rows, width)
    return numbers[:, : width // 2] | numbers[:, width // 2 :] << 4, scales


def eight_bits(matrix: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Return a matrix of shape (inputs, outputs) as int8, and what a unit of a column is worth."""
    scales = np.maximum(np.abs(matrix).max(axis=0) / 127, 1e-12).astype(np.float32)
    return np.clip(np.rint(matrix / scales), -127, 127).astype(np.int8), scales


class Range(NamedTuple):
    """What the inputs of a dense layer were seen to be."""

    columns: Floats
    """Largest absolute value of each column."""
    low: float
    high: float


def ranges(model: Encoder, texts: Sequence[Sequence[int]]) -> dict[str, Range]:
    """Return the range of each dense layer's input over texts, by the layer's name."""
    found: dict[str, Range] = {}

    def watch(name: str) -> Any:  # noqa: ANN401
        def hook(_layer: object, inputs: tuple[torch.Tensor], _output: object) -> None:
            seen = inputs[0].detach().float()[live[0]]
            new = Range(seen.abs().amax(dim=0).numpy(), float(seen.min()), float(seen.max()))
            old = found.get(name, new)
            found[name] = Range(
                np.maximum(old.columns, new.columns),
                min(old.low, new.low),
                max(old.high, new.high),
            )

        return hook

    live: list[torch.Tensor] = [torch.zeros(0)]
    hooks = [
        layer.register_forward_hook(watch(name))
        for name, layer in model.named_modules()
        if name.startswith("blocks.") and isinstance(layer, torch.nn.Linear)
    ]
    with torch.inference_mode():
        for batch in batches(texts):
            live[0] = batch.mask
            model.states(batch.pieces, batch.segments, batch.mask)
    for hook in hooks:
        hook.remove()
    return found


class Speech(NamedTuple):
    """What each piece says of the language it stands in."""

    names: list[str]
    language: NDArray[np.uint8]
    """For each piece, the number of the language it is most often of."""
    weight: NDArray[np.float16]
    """How much likelier it is there than in the others together, a logarithm, at least zero."""


class _Graph:
    """Nodes and constants, named as they come."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Any, name: str = "") -> str:  # noqa: ANN401 - any array
        """Add a constant and return its name."""
        name = name or f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:  # noqa: ANN401
        """Add a node and return its output's name, or names."""
        domain = attributes.pop("domain", "")
        names = [f"n{len(self.nodes)}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def dense(self, x: str, matrix: Floats, bias: Floats, seen: Range) -> str:
        """Multiply by a quantised matrix of shape (inputs, outputs) and add a bias."""
        columns, low, high = np.maximum(seen.columns, 1e-6), seen.low, seen.high
        smooth = np.maximum(1.0, columns / (SMOOTH * np.median(columns))).astype(np.float32)
        if smooth.max() > 1.3:
            x = self.node("Mul", x, self.constant(1 / smooth))
            matrix = matrix * smooth[:, None]
            limit = float((columns / smooth).max())
            low, high = max(low, -limit), min(high, limit)
        low, high = min(low, 0.0), max(high, 1e-6)
        scale = np.float32((high - low) / 255)
        zero = np.uint8(np.clip(np.rint(-low / scale), 0, 255))
        weights, scales = eight_bits(matrix)
        scale_name, zero_name = self.constant(scale), self.constant(zero)
        return str(
            self.node(
                "MatMulIntegerToFloat",
                self.node("QuantizeLinear", x, scale_name, zero_name),
                self.constant(weights),
                scale_name,
                self.constant(scales),
                zero_name,
                self.constant(np.zeros(len(scales), np.int8)),
                self.constant(bias),
                domain="com.microsoft",
            )
        )

    def norm(self, x: str, weight: Floats, bias: Floats) -> str:
        """Bring each row to mean zero and variance one, then scale and shift it."""
        return str(
            self.node(
                "LayerNormalization",
                x,
                self.constant(weight),
                self.constant(bias),
                axis=-1,
                epsilon=1e-12,
            )
        )


def graph(
    weights: Mapping[str, Floats],
    shape: Shape,
    limits: Mapping[str, Range],
    speech: Speech,
    hearing: Shares | None = None,
) -> onnx.ModelProto:
    """Return the whole model: piece numbers in, logits and a sentence vector out.

    With `hearing`, what its heads say is what `hearing.heard` makes of their own logits.

    Inputs: `pieces`, `segments` (int64, shape (batch, time)), `mask` (float, 1 where a token is
    real). Outputs: `logits` of shape (batch, heads), `vector` of shape (batch, width), of length
    one, and `language` of shape (batch, languages), the logits of which one it is in.
    """
    g = _Graph()
    x = _embedded(g, weights)
    bias = g.node(
        "Mul", g.node("Sub", "mask", g.constant(np.float32(1))), g.constant(np.float32(1e4))
    )
    bias = g.node("Unsqueeze", bias, g.constant(np.array([1, 2])))
    for layer in range(shape.layers):
        x = _block(_Layer(g, weights, f"blocks.{layer}.", limits, shape), x, bias)
    answers = "own" if hearing else "logits"
    _answers(g, weights, x, answers)
    _spoken(g, speech)
    if hearing:
        _heard(g, answers, hearing)
    batch_time = ["batch", "time"]
    inputs = [
        helper.make_tensor_value_info("pieces", TensorProto.INT64, batch_time),
        helper.make_tensor_value_info("segments", TensorProto.INT64, batch_time),
        helper.make_tensor_value_info("mask", TensorProto.FLOAT, batch_time),
    ]
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", shape.heads]),
        helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["batch", shape.width]),
        helper.make_tensor_value_info("language", TensorProto.FLOAT, ["batch", len(speech.names)]),
    ]
    body = helper.make_graph(g.nodes, "encoder", inputs, outputs, g.constants)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(body, opset_imports=opsets, ir_version=9)
    model.producer_name = "balustrade"
    return model


def _embedded(g: _Graph, weights: Mapping[str, Floats]) -> str:
    packed, scales = four_bits(weights["piece.weight"])
    groups = scales.shape[1]
    rows = g.node("Gather", g.constant(packed, "piece.nibbles"), "pieces")
    low = g.node("BitwiseAnd", rows, g.constant(np.uint8(15)))
    high = g.node("BitShift", rows, g.constant(np.uint8(4)), direction="RIGHT")
    both = g.node("Concat", low, high, axis=-1)
    numbers = g.node("Sub", g.node("Cast", both, to=TensorProto.FLOAT), g.constant(np.float32(8)))
    parted = g.node("Reshape", numbers, g.constant(np.array([0, 0, groups, GROUP])))
    scale = g.node("Gather", g.constant(scales, "piece.scales"), "pieces")
    scale = g.node(
        "Unsqueeze", g.node("Cast", scale, to=TensorProto.FLOAT), g.constant(np.array([3]))
    )
    x = g.node(
        "Reshape", g.node("Mul", parted, scale), g.constant(np.array([0, 0, groups * GROUP]))
    )
    time = g.node("Shape", "pieces", start=1, end=2)
    places = g.node(
        "Slice",
        g.constant(weights["position.weight"].astype(np.float16)),
        g.constant(np.array([0])),
        time,
    )
    segment = g.node("Gather", g.constant(weights["segment.weight"]), "segments")
    x = g.node("Add", g.node("Add", x, segment), g.node("Cast", places, to=TensorProto.FLOAT))
    return g.norm(x, weights["norm.weight"], weights["norm.bias"])


class _Layer(NamedTuple):
    """What one layer is written from."""

    graph: _Graph
    weights: Mapping[str, Floats]
    name: str
    limits: Mapping[str, Range]
    shape: Shape

    def dense(self, x: str, part: str) -> str:
        """Add the dense layer of that name."""
        name = self.name + part
        return self.graph.dense(
            x, self.weights[f"{name}.weight"].T, self.weights[f"{name}.bias"], self.limits[name]
        )

    def norm(self, x: str, part: str) -> str:
        """Add the norm of that name."""
        name = self.name + part
        return self.graph.norm(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])


def _block(layer: _Layer, x: str, bias: str) -> str:
    g, shape = layer.graph, layer.shape
    each = shape.width // shape.attention
    parts = g.node("Split", layer.dense(x, "mix"), outputs=3, axis=-1, num_outputs=3)
    split = g.constant(np.array([0, 0, shape.attention, each]))
    query, key, value = (g.node("Reshape", part, split) for part in parts)
    query = g.node("Transpose", query, perm=[0, 2, 1, 3])
    key = g.node("Transpose", key, perm=[0, 2, 3, 1])
    value = g.node("Transpose", value, perm=[0, 2, 1, 3])
    heed = g.node("Mul", g.node("MatMul", query, key), g.constant(np.float32(each**-0.5)))
    heed = g.node("Softmax", g.node("Add", heed, bias), axis=-1)
    out = g.node("Transpose", g.node("MatMul", heed, value), perm=[0, 2, 1, 3])
    out = g.node("Reshape", out, g.constant(np.array([0, 0, shape.width])))
    x = layer.norm(g.node("Add", x, layer.dense(out, "out")), "norm1")
    inner = g.node("Gelu", layer.dense(x, "up"))
    return layer.norm(g.node("Add", x, layer.dense(inner, "down")), "norm2")


def _answers(g: _Graph, weights: Mapping[str, Floats], x: str, name: str) -> None:
    """Join the heads: each reads the mean of all tokens and those it heeds."""
    column = g.node("Unsqueeze", "mask", g.constant(np.array([2])))
    far = g.node(
        "Mul", g.node("Sub", column, g.constant(np.float32(1))), g.constant(np.float32(1e4))
    )
    heed = g.node("Add", g.node("MatMul", x, g.constant(weights["query.weight"].T)), far)
    read = g.node(
        "Mul",
        g.node("Softmax", heed, axis=1),
        g.node("MatMul", x, g.constant(weights["local.weight"].T)),
    )
    local = g.node("ReduceSum", read, g.constant(np.array([1])), keepdims=0)
    count = g.node("ReduceSum", "mask", g.constant(np.array([1])), keepdims=1)
    total = g.node("ReduceSum", g.node("Mul", x, column), g.constant(np.array([1])), keepdims=0)
    mean = g.node("Div", total, count)
    whole = g.node("MatMul", mean, g.constant(weights["whole.weight"].T))
    whole = g.node("Add", whole, g.constant(weights["whole.bias"]))
    g.nodes.append(helper.make_node("Add", [local, whole], [name]))
    g.nodes.append(helper.make_node("LpNormalization", [mean], ["vector"], axis=-1, p=2))


def _spoken(g: _Graph, speech: Speech) -> None:
    """Let each piece vote for its language."""
    voice = g.node("Gather", g.constant(speech.language), "pieces")
    count = g.constant(np.array(len(speech.names)))
    off_on = g.constant(np.array([0, 1], np.float32))
    voices = g.node("OneHot", g.node("Cast", voice, to=TensorProto.INT64), count, off_on, axis=-1)
    weight = g.node("Gather", g.constant(speech.weight), "pieces")
    weight = g.node("Mul", g.node("Cast", weight, to=TensorProto.FLOAT), "mask")
    weighed = g.node("Mul", voices, g.node("Unsqueeze", weight, g.constant(np.array([2]))))
    g.nodes.append(
        helper.make_node(
            "ReduceSum", [weighed, g.constant(np.array([1]))], ["language"], keepdims=0
        )
    )


def _heard(g: _Graph, own: str, hearing: Shares) -> None:
    """Let heads hear each other; the last nodes, so that they can be written behind a graph."""
    kinds = g.node("Gather", own, g.constant(np.array(KINDS), "hearing.columns"), axis=1)
    together = g.node("ReduceLogSumExp", kinds, g.constant(np.array([1]), "hearing.axis"))
    added = g.node("Mul", together, g.constant(hearing.kinds, "hearing.kinds"))
    others = g.node("MatMul", own, g.constant(hearing.others, "hearing.others"))
    g.nodes.append(helper.make_node("Add", [others, added], ["logits"]))
