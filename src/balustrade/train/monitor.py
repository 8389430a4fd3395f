"""The stream monitor: a small recurrent network that reads an answer while it is written.

    python -m balustrade.train.monitor --data ../shared/data/dev \
        --parallel ../shared/data/parallel --work build/encoder --out src/balustrade/shipped

In:   answers and posts with labels, the shipped encoder (it judges their sentences), and its piece
      vectors as they were taught, in `--work`.
Out:  monitor.safetensors, monitor.json (thresholds, when it stops, digests), monitor.manifest.json.
Time: about twenty minutes on two CPU cores. Same seed and encoder, same bytes.

Words are labelled by `annotate.py` (FineHarm's way), the network is taught by the three-part loss
of arXiv 2506.09996 (`scm.py`) and by what the encoder says of unfinished texts (`echo.py`). When it
stops is chosen on rows that were held out (`stopping.py`): the number of hits, and of words they
count among, by macro-F1 where few long harmless answers are stopped; the threshold then by how many
of those may be stopped, and of everyday ones (`calm.py`). Where the cascade must agree
(`Scm.confirm`), the score of both has thresholds of its own, which `doubts.py` measures next.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from msgspec.structs import replace
from safetensors.numpy import save
from safetensors.torch import load_file

from balustrade.backends.onnx import Onnx
from balustrade.backends.pieces import Pieces
from balustrade.backends.recurrent import Marks, Recurrent, asked
from balustrade.core.spec import Count, Positive, Probability, Spec
from balustrade.core.taxonomy import RESPONSE_HARM, TOXICITY
from balustrade.data.example import Example, Kind
from balustrade.data.fineharm import FineHarm
from balustrade.models import recurrent
from balustrade.models.scm import BENIGN, IGNORED, Monitor
from balustrade.shipped import Description, Head, describe
from balustrade.text.growing import every
from balustrade.train.annotate import Annotator, Answer, sentences
from balustrade.train.arguments import parsed
from balustrade.train.calm import LONG, POST, daily, heard, limited, long_texts
from balustrade.train.corpus import OWN, Sizes, is_held_out, late, load
from balustrade.train.echo import Echo, echoes, shown
from balustrade.train.manifest import manifest, write_description, write_json
from balustrade.train.projection import project, spans
from balustrade.train.scm import Lesson, Teaching, teach
from balustrade.train.stopping import choose_stop

SHORT = 40
"""Characters that a harmless text has to be shown as an answer."""


class Config(Spec, frozen=True):
    """Everything the weights depend on, beside the encoder, the data and the code."""

    data: str
    parallel: str
    out: str
    work: str = "build/encoder"
    width: Count = 96  # numbers of a piece's vector
    states: Count = 192
    each: Count = 1_500  # answers of each source of our own at most
    posts: Count = 16_000  # abusive and fair posts that are shown as answers
    calm: Count = 14_000  # ordinary texts that are shown as answers
    echoed: Count = 20_000  # texts of all kinds of which the encoder's opinion is learnt
    mixed: Count = 4_000  # harmless answers in which harm begins somewhere
    long: Count = 1_500  # harmless answers one after the other, as one
    echo: float = 1.0  # how much that opinion counts beside the three parts of the loss
    agreed: Probability = 0.5  # from this score on the encoder holds a sentence harmful
    rate: Positive = 2e-3
    epochs: Count = 2
    batch: Count = 48
    aim: Probability = 0.01  # share of long harmless answers that may be stopped
    seed: int = 0


class Pool(NamedTuple):
    """What answers are made of."""

    answers: list[Answer]
    calm: list[Answer]


def main(config: Config) -> Description:
    """Label, teach, choose, write."""
    out = Path(config.out)
    torch.set_num_threads(1)  # more do not pay, and no sum hangs on how many there are
    reader = Reader(out)
    lessons, held = lessons_of(config, reader)
    model = begin(Path(config.work), config)
    print(f"{sum(len(each.pieces) for each in lessons):,} pieces an epoch", flush=True)
    teach(model, lessons, taught_by(config), told=100)
    return write(model, held, config, out)


def lessons_of(config: Config, reader: Reader) -> tuple[list[Lesson], list[FineHarm]]:
    """Return what teaches, and labelled answers that were held out."""
    corpus = load(Path(config.data), Path(config.parallel), Sizes(seed=config.seed))
    rows, encoder = [*corpus.rows, *late()], Onnx("encoder", Path(config.out))
    train, held = (
        labelled(pool(rows, config, held=is_held), encoder, config) for is_held in (False, True)
    )
    print(f"{len(train)} answers to learn from, {len(held)} to choose by", flush=True)
    rng = Random(config.seed)
    taught = [row for row in rows if not is_held_out(row)]
    answers = _capped(taught, config.each, rng)
    said = echoes(shown(taught, answers, config.echoed, rng), encoder, rng)
    print(f"{len(said)} texts of which the encoder has spoken", flush=True)
    lessons = [reader.lesson(row) for row in (*train, *made(train, config))]
    return lessons + [reader.echo(each) for each in said], held


def taught_by(config: Config) -> Teaching:
    """Return how the network is taught."""
    return Teaching(
        gamma=config.echo, rate=config.rate, epochs=config.epochs, batch=config.batch, pool=32,
        longest=640, seed=config.seed,
    )  # fmt: skip


def pool(rows: Sequence[Example], config: Config, *, held: bool) -> Pool:
    """Return answers, and posts and ordinary texts as if they were some."""
    rng = Random(config.seed)
    own = [row for row in rows if is_held_out(row) == held]
    answers = [_answer(row, row.text, row.response) for row in _capped(own, config.each, rng)]
    share = 0.05 if held else 1.0
    posts = [row for row in own if row.kind is Kind.TOXICITY and len(row.text) >= SHORT]
    posts = rng.sample(posts, min(len(posts), int(config.posts * share)))
    ordinary = {Kind.BENIGN, Kind.HARD_BENIGN}
    calm = [row for row in own if row.kind in ordinary and len(row.text) >= SHORT]
    calm = rng.sample(calm, min(len(calm), int(config.calm * share)))
    answers += [_answer(row, "", row.text) for row in posts]
    return Pool(answers, [_answer(row, "", row.text) for row in calm])


def _capped(rows: Sequence[Example], most: int, rng: Random) -> list[Example]:
    """Return the answers, of each source of our own no more than some."""
    by_source: dict[str, list[Example]] = {}
    for row in rows:
        if row.kind is Kind.RESPONSE:
            by_source.setdefault(row.source if row.source.startswith(OWN) else "", []).append(row)
    kept = by_source.pop("", [])
    for _, own in sorted(by_source.items()):
        kept += rng.sample(own, min(len(own), most))
    return kept


def _answer(row: Example, request: str, response: str) -> Answer:
    source = POST if row.kind is Kind.TOXICITY else row.source
    return Answer(row.id, request, response[:LONG], row.is_unsafe, row.lang, source)


def labelled(known: Pool, encoder: Onnx, config: Config) -> list[FineHarm]:
    """Label words; answers whose sentences contradict their labels are left out."""
    scores = judged([row for row in known.answers if row.is_harmful], encoder)
    found = []
    for row in known.answers:
        annotator = Annotator(partial(_looked_up, scores, row.prompt), config.agreed)
        if not row.is_harmful:
            annotator = annotator._replace(score=_calm)
        if (made := annotator.annotate(row)) is not None:
            found.append(made)
    calm = [Annotator(_calm).annotate(row) for row in known.calm]
    return found + [row for row in calm if row is not None]


def _calm(texts: Sequence[str]) -> list[float]:
    """Score what people have labelled harmless: none of its sentences is harmful."""
    return [0.0] * len(texts)


Known = dict[tuple[str, str], float]
"""A request and a sentence of its answer, and how surely the sentence is harmful."""


def judged(rows: Sequence[Answer], encoder: Onnx) -> Known:
    """Have the encoder judge every sentence, each as an answer and as a post, all at once."""
    each = ((row.prompt, text) for row in rows for text in sentences(row.response))
    known = list(dict.fromkeys(each))
    labels = describe("encoder").labels
    columns = [labels.index(RESPONSE_HARM), labels.index(TOXICITY)]
    scores = encoder.scores([text for _, text in known], [request for request, _ in known])
    best = scores[:, columns].max(axis=1) if known else np.zeros(0)
    return dict(zip(known, best.tolist(), strict=True))


def _looked_up(known: Known, request: str, texts: Sequence[str]) -> list[float]:
    return [known[request, text] for text in texts]


class Reader:
    """Cuts answers into pieces as the monitor will, with a label at the end of each word."""

    def __init__(self, folder: Path) -> None:
        known = describe("encoder", folder)
        self._marks = Marks(known.begin, known.end)
        self._pieces = Pieces(gzip.decompress((folder / known.tokenizer).read_bytes()))

    def echo(self, echo: Echo) -> Lesson:
        """Return a text of which the encoder has spoken, as numbers."""
        pieces = asked(self._pieces, echo.request, self._marks)
        said = []
        for word in every(echo.text):
            pieces += self._pieces.numbers(word.text)
            if word.end in echo.said:
                said.append((len(pieces) - 1, echo.said[word.end]))
        return Lesson(pieces, [IGNORED] * len(pieces), None, said)

    def plain(self, request: str, text: str) -> Lesson:
        """Return a harmless answer after its request, as numbers."""
        pieces = asked(self._pieces, request, self._marks)
        labels = [IGNORED] * len(pieces)
        for word in every(text):
            own = self._pieces.numbers(word.text)
            pieces += own
            labels += [BENIGN] * len(own)
        return Lesson(pieces, labels, harmful=False)

    def lesson(self, row: FineHarm) -> Lesson:
        """Return an answer after its request, as numbers."""
        pieces = asked(self._pieces, row.prompt, self._marks)
        labels = [IGNORED] * len(pieces)
        words = every(row.response)
        marked = project(spans(row), [(word.start, word.end) for word in words])
        for word, label in zip(words, marked, strict=True):
            own = self._pieces.numbers(word.text)
            pieces += own
            labels += [*[IGNORED] * (len(own) - 1), label][: len(own)]
        return Lesson(pieces, labels, row.is_harmful)


def made(rows: Sequence[FineHarm], config: Config) -> list[FineHarm]:
    """Return answers in which harm begins after harmless sentences, and long harmless ones."""
    rng = Random(config.seed)
    calm = [row for row in rows if not row.is_harmful]
    bad = [row for row in rows if row.is_harmful]
    found = []
    for number in range(config.mixed):
        before, after = rng.choice(calm), rng.choice(bad)
        onset = after.sentence_labels.index(1)
        head = _part(before, 0, rng.randint(1, 8))
        parts = [head, _part(after, onset, onset + 8)]
        found.append(joined(f"mixed-{number}", parts, after.prompt))
    for number in range(config.long):
        parts = rng.choices(calm, k=rng.randint(3, 12))
        found.append(joined(f"long-{number}", parts, parts[0].prompt))
    return found


def _part(row: FineHarm, first: int, end: int) -> FineHarm:
    cut = slice(first, end)
    kept = {name: getattr(row, name)[cut] for name in PER_SENTENCE}
    return replace(row, sentence_num=-1, **kept)


PER_SENTENCE = ("sentences", "sentence_labels", "words", "word_labels")


def joined(name: str, parts: Sequence[FineHarm], request: str) -> FineHarm:
    """Return several answers one after the other as one."""
    kept = {each: tuple(x for part in parts for x in getattr(part, each)) for each in PER_SENTENCE}
    text = " ".join(kept["sentences"])
    return replace(
        parts[0], idx=name, prompt=request, response=text, source="made", sentence_num=-1, **kept
    )


def begin(work: Path, config: Config) -> Monitor:
    """Return a monitor whose piece vectors are the encoder's, in fewer numbers."""
    torch.manual_seed(config.seed)
    vectors = begin_vectors(work, config)
    return Monitor(recurrent.Recurrent(vectors, config.states), config.states)


def begin_vectors(work: Path, config: Config) -> torch.Tensor:
    """Return the encoder's piece vectors in their main directions, shape (pieces, width)."""
    taught = load_file(work / "taught.safetensors")["piece.weight"]
    centred = taught - taught.mean(dim=0)
    _, directions = torch.linalg.eigh(centred.T @ centred)
    small = centred @ directions[:, -config.width :]
    scaled: torch.Tensor = small / small.std() * 0.5
    return scaled


def write(model: Monitor, held: Sequence[FineHarm], config: Config, out: Path) -> Description:
    """Write the weights, and choose by them when to stop."""
    arrays, bias = recurrent.packed(model)
    data = save(arrays)
    (out / "monitor.safetensors").write_bytes(data)
    known = describe("encoder", out)
    head = Head(RESPONSE_HARM, bias, 1.0, 0.0, 0.5, {})
    description = Description(
        "monitor", "monitor.safetensors", sha256(data).hexdigest(), (head,), config.aim,
        tokenizer=known.tokenizer, tokenizer_sha256=known.tokenizer_sha256,
        width=config.width, begin=known.begin, end=known.end,
    )  # fmt: skip
    answers = [row for row in held if row.prompt]
    answers += made(answers, replace(config, mixed=len(answers) // 2, long=0))
    harmful = np.array([row.is_harmful for row in answers])
    with TemporaryDirectory() as folder:
        engine = Recurrent("monitor", _draft(Path(folder), description, out))
        streams = heard(engine, [(row.prompt, row.response) for row in answers])
        long, short = (heard(engine, texts) for texts in (long_texts(held, config.seed), daily()))
    chosen = choose_stop(streams, harmful, long, config.aim)
    description = limited(replace(description, stop=chosen.stop), [long, short])
    write_description(out, description)
    write_json(out / "monitor.manifest.json", manifest(config, Path(config.data)))
    return description


def _draft(folder: Path, description: Description, out: Path) -> Path:
    """Lay out a monitor without thresholds, for a network to be read by itself alone."""
    write_description(folder, description)
    for name in (description.weights, description.tokenizer):
        (folder / name).symlink_to((out / name).resolve())
    return folder


if __name__ == "__main__":
    main(parsed(Config, "train the stream monitor"))
