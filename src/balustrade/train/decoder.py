"""Begin, teach, keep and take up a stream monitor over any causal decoder of Hugging Face.

    model = begin("Qwen/Qwen2.5-0.5B")
    reader = Tokens(pretrained.tokenizer("Qwen/Qwen2.5-0.5B"))
    teach(model, [lesson(row, reader) for row in fineharm.read(path)], Teaching())
    save(model, "Qwen/Qwen2.5-0.5B", Path("monitor"))

What is kept is laid out as the checkpoints of arXiv 2506.09996 are, and is served by its folder:
`{use = "scm", model = "hub:monitor", hits = 4, words = 0}`. An answer is read as it will be when it
is streamed, word by word, so that it has the same tokens in teaching.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from safetensors.torch import save_file

from balustrade.backends import pretrained
from balustrade.backends.scm import cut
from balustrade.backends.tokens import Tokens
from balustrade.core.errors import BackendError
from balustrade.data.fineharm import FineHarm
from balustrade.models.decoder import Decoder, published
from balustrade.models.scm import BENIGN, IGNORED, Monitor
from balustrade.train.projection import project, spans
from balustrade.train.scm import Lesson

HEADS = ("token_classifier", "sequence_classifier")


def begin(name: str) -> Monitor:
    """Return a monitor over a decoder, with heads that have learnt nothing.

    Args:
        name: Of a decoder on the hub, or a folder.

    Raises:
        BackendError: There is no such model.
    """
    backbone = Decoder(pretrained.model(name, "AutoModel", "cpu"))
    return Monitor(backbone, backbone.width)


def load(name: str) -> Monitor:
    """Return a monitor that was kept or published; without a holistic head if it has none.

    Raises:
        BackendError: There is no such model, or it has no token head of this shape.
    """
    model = begin(name)
    heads = pretrained.weights(name, lambda key: key.split(".")[0] in HEADS)
    if "sequence_classifier.weight" not in heads:
        model.detach_holistic()
    for head in HEADS:
        module = getattr(model, head)
        own = {k.partition(".")[2]: v for k, v in heads.items() if k.startswith(f"{head}.")}
        try:
            if module is not None:
                module.load_state_dict(own)
        except RuntimeError as error:
            first = str(error).strip().splitlines()[-1].strip()
            raise BackendError(f"model {name!r} is no stream monitor: {head}: {first}") from error
    return model


def save(model: Monitor, tokenizer: str, folder: Path) -> None:
    """Write a monitor as published ones are: weights, `config.json`, tokenizer.

    Args:
        model: Over a `Decoder`.
        tokenizer: The model or folder whose tokenizer it reads with.
        folder: Where; made if it is not there.
    """
    backbone = model.backbone
    assert isinstance(backbone, Decoder)
    folder.mkdir(parents=True, exist_ok=True)
    config = deepcopy(backbone.config)
    config.architectures = [f"{type(backbone.model).__name__.removesuffix('Model')}ForDualTask"]
    config.num_token_labels = config.num_sequence_labels = 2
    config.ignore_index = IGNORED
    config.save_pretrained(folder)
    save_file(published(model), folder / "model.safetensors", {"format": "pt"})
    pretrained.tokenizer(tokenizer).save_pretrained(folder)


def lesson(row: FineHarm, tokens: Tokens) -> Lesson:
    """Return an answer as a monitor reads it, each token with the label of the words it touches.

    Tokens of gaps are benign, as the paper's line breaks are: they are part of a word's score.

    Raises:
        DataError: A word does not follow in the answer where its sentence says.
    """
    pieces, places = tokens.request(row.prompt), []
    before = len(pieces)
    known = cut("", row.response, ends=True)
    for word, text in zip(known.words, known.texts, strict=True):
        start = word.end - len(text)
        for piece in tokens.placed(text):
            pieces.append(piece.number)
            places.append((start + piece.start, start + piece.end))
    labels = [
        BENIGN if label == IGNORED and row.response[start:end].isspace() else label
        for label, (start, end) in zip(project(spans(row), places), places, strict=True)
    ]
    return Lesson(pieces, [*[IGNORED] * before, *labels], row.is_harmful)
