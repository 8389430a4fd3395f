"""A folder of all tiers, whose encoder is tiny: it knows a few words, and runs as the real one."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import msgspec
import numpy as np
import pytest

from balustrade import shipped
from balustrade.core.taxonomy import (
    HARM,
    INJECTION,
    MODERATE,
    REFUSAL,
    RESPONSE_HARM,
    SEVERE,
    TOXICITY,
)
from balustrade.shipped import Description, Gate, Head, describe, fingerprint
from balustrade.shipped.describe import Language

SAYS = {
    "bomb": (HARM, RESPONSE_HARM, MODERATE, SEVERE),
    "steal": (HARM, RESPONSE_HARM, MODERATE),
    "cheat": (HARM,),
    "fool": (TOXICITY,),
    "ignore": (INJECTION,),
    "sorry": (REFUSAL,),
}
"""Words, and the heads they set off."""
CALM = "the weather was fine and we walked along river until evening how do i bake bread"
WIDTH = 96
CLEAR = {HARM: 0.3, INJECTION: 0.3, TOXICITY: 0.3, RESPONSE_HARM: 0.3}
FLOOR = 0.1


@pytest.fixture(scope="session")
def tiers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the shipped static tier, a tiny encoder, and a cascade of both."""
    folder = tmp_path_factory.mktemp("tiers")
    for file in shipped.HERE.glob("static.*"):
        (folder / file.name).write_bytes(file.read_bytes())
    known = _encoder(folder)
    heads = tuple(
        msgspec.structs.replace(
            head, slope=1.1, offset=-0.1, threshold=0.4, thresholds={"0.01": 0.4, "0.1": FLOOR}
        )
        for head in known.heads
        if head.name != REFUSAL
    )
    gate = Gate(
        CLEAR,
        tuple(FLOOR for _ in heads),
        tuple(0.25 for _ in heads),
        {name: fingerprint(name, folder) for name in ("static", "encoder")},
    )
    cascade = Description("cascade", known.weights, known.sha256, heads, 0.01, gate=gate)
    (folder / "cascade.json").write_bytes(msgspec.json.encode(cascade))
    return folder


def _encoder(folder: Path) -> Description:
    import torch

    from balustrade.models.encoder import Encoder, Shape
    from balustrade.train import vocabulary
    from balustrade.train.export import Speech, graph, ranges
    from balustrade.train.targets import ENCODER_HEADS

    words = [*SAYS, *dict.fromkeys(CALM.split())]
    pieces = [(name, 0.0) for name in vocabulary.SPECIAL]
    pieces += [(name, -20.0) for name in vocabulary.BYTES]
    first = len(pieces)
    pieces += [(vocabulary.START + word, -5.0) for word in words]
    tokenizer = vocabulary.bare(pieces)
    torch.manual_seed(0)
    shape = Shape(len(pieces), len(ENCODER_HEADS), WIDTH, 1, 3, WIDTH, 64)
    model = Encoder(shape)
    model.eval()
    with torch.no_grad():
        for layer in model.blocks.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.weight.mul_(0.05)
        model.position.weight.zero_()
        model.segment.weight.zero_()
        model.piece.weight[:, : WIDTH // 2] = 0
        for weight in (model.query.weight, model.local.weight, model.whole.weight):
            weight.zero_()
        model.whole.bias.fill_(-4.0)
        for number, heads in enumerate(SAYS.values()):
            model.piece.weight[first + number] = 0
            model.piece.weight[first + number, number] = 1
            for head in heads:
                model.query.weight[ENCODER_HEADS.index(head), number] = 1
                model.local.weight[ENCODER_HEADS.index(head), number] = 1
    weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    size = tokenizer.get_vocab_size()
    speech = Speech(["aa", "bb"], np.arange(size, dtype=np.uint8) % 2, np.ones(size, np.float16))
    texts = [tokenizer.encode(text).ids for text in (CALM, *SAYS)]
    limits = ranges(model, texts)
    data = graph(weights, shape, limits, speech).SerializeToString(deterministic=True)
    (folder / "encoder.onnx").write_bytes(data)
    packed = gzip.compress(tokenizer.to_str().encode(), 9, mtime=0)
    (folder / "encoder.tokenizer.json.gz").write_bytes(packed)
    known = Description(
        "encoder",
        "encoder.onnx",
        hashlib.sha256(data).hexdigest(),
        tuple(Head(name, 0.0, 1.0, 0.0, 0.5, {"0.01": 0.5}) for name in ENCODER_HEADS),
        0.01,
        tokenizer="encoder.tokenizer.json.gz",
        tokenizer_sha256=hashlib.sha256(packed).hexdigest(),
        window=32,
        request=16,
        width=WIDTH,
        begin=vocabulary.CLS,
        end=vocabulary.SEP,
        languages=tuple(Language(name, (0.0,) * len(ENCODER_HEADS)) for name in ("en", "de")),
    )
    (folder / "encoder.json").write_bytes(msgspec.json.encode(known))
    return describe("encoder", folder)
