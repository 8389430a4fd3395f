from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from balustrade.backends.onnx import Onnx
from balustrade.core.taxonomy import HARM
from balustrade.data import jsonl
from balustrade.data.example import Example, Kind
from balustrade.models.encoder import Encoder, Shape
from balustrade.shipped import describe
from balustrade.train import encoder, languages, teaching, vocabulary
from balustrade.train.align import batches, optimiser, warm
from balustrade.train.augment import Augment, lexicon
from balustrade.train.corpus import Corpus, is_held_out, late
from balustrade.train.encoder import Config
from balustrade.train.parallel import Pair
from balustrade.train.targets import ENCODER_HEADS, targets
from balustrade.train.teaching import Row

Tongue = Any
Floats = NDArray[np.float32]
# The recipe reads losses off for its log; what it trains on is not touched by that.
pytestmark = pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
COLUMN = ENCODER_HEADS.index(HARM)


def data_folder(root: Path) -> Path:
    root.mkdir(parents=True)
    for source in range(2):
        rows = []
        for n in range(60):
            name, more = f"{source}-{n}", f"number {n} of list {source}"
            rows += [
                Example(f"b{name}", f"please tell me of roses, {more}", "safe", Kind.BENIGN),
                Example(f"p{name}", f"how to steal a car, {more}", "unsafe", Kind.PROMPT),
                Example(f"t{name}", f"you are a fool, {more}", "unsafe", Kind.TOXICITY),
                Example(f"r{name}", f"steal it, {more}", "safe", Kind.RESPONSE, f"sorry, no {n}"),
            ]
        named = [msgspec.structs.replace(row, lang="en", licence="ours") for row in rows]
        jsonl.write(root / f"source{source}.jsonl.gz", named)
    return root


def parallel_folder(root: Path) -> Path:
    (root / "lexicon").mkdir(parents=True)
    lines = [
        f"The house number {n} stands here now.\tDas Haus Nummer {n} steht hier.\ttatoeba-laser\n"
        for n in range(60)
    ]
    with gzip.open(root / "en-de.tsv.gz", "wt", encoding="utf-8") as out:
        out.write("".join(lines))
    return root


class Run(NamedTuple):
    """A finished run and what it was made with."""

    config: Config
    root: Path


@pytest.fixture(scope="module", autouse=True)
def _little_to_read() -> Iterator[None]:
    """Let a run read 512 rows at once, and one in forty of our own pairs.

    A teaching ends with its pool, however few its tokens, and an alignment reads every own pair.
    """
    own = languages.pairs(0)[::40]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "POOL", 512)
        patch.setattr(languages, "pairs", lambda _seed=0: own)
        yield


@pytest.fixture(scope="module")
def finished(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("recipe")
    config = Config(
        str(data_folder(root / "data")),
        str(parallel_folder(root / "parallel")),
        str(root / "out"),
        str(root / "work"),
        str(base_folder),
        english=400,
        pieces=8_000,
        letters=2_000,
        pairs=100,
        switched=100,
        tokens=1,
        again=1,
        agree=40,
        grammar=20,
        scenes=20,
        sentences=20,
        stories=20,
    )
    encoder.main(config)
    return Run(config, root)


def written(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(finished: Run) -> None:
    out, work = finished.root / "again", finished.root / "work again"
    encoder.main(msgspec.structs.replace(finished.config, out=str(out), work=str(work)))
    first, second = written(finished.root / "out"), written(out)
    assert set(first) == {
        "encoder.onnx", "encoder.tokenizer.json.gz", "encoder.json", "encoder.manifest.json",
    }  # fmt: skip
    for name in set(first) - {"encoder.manifest.json"}:
        assert first[name] == second[name], name
    manifests = [json.loads(each["encoder.manifest.json"]) for each in (first, second)]
    assert manifests[0]["data"] == manifests[1]["data"]


@pytest.mark.slow
def test_what_was_written_is_read_and_judges(finished: Run) -> None:
    folder = finished.root / "out"
    model, known = Onnx("encoder", folder), describe("encoder", folder)
    scores = model.scores(["how to steal a car", "roses", "x" * 3_000], ["", "tell me", ""])
    assert known.labels == ENCODER_HEADS
    assert scores.shape == (3, len(ENCODER_HEADS))
    assert ((scores >= 0) & (scores <= 1)).all()
    assert {language.name for language in known.languages} >= {"en", "zh", "ar"}
    manifest = json.loads((folder / "encoder.manifest.json").read_bytes())
    assert [entry["rows"] for entry in manifest["data"]] == [240, 240]


def begun(finished: Run) -> tuple[Corpus, Tokenizer, Encoder]:
    """Return a small corpus, and the vocabulary and the aligned encoder of a finished run."""
    tokenizer = Tokenizer.from_file(str(finished.root / "work" / "tokenizer.json"))
    weights = load_file(finished.root / "work" / "aligned.safetensors")
    pieces, width = weights["piece.weight"].shape
    model = Encoder(Shape(pieces, len(ENCODER_HEADS), width, 2, width // 32, 128))
    model.load_state_dict(weights)
    data = Path(finished.config.data)
    rows = [row for file in jsonl.files(data) for row in jsonl.read(file)]
    return Corpus(rows, [row.id[0] for row in rows], []), tokenizer, model


def one_pool(corpus: Corpus, tokenizer: Tokenizer, model: Encoder, config: Config) -> Any:
    """Do what the recipe does before its first checkpoint; return what it would keep."""
    rows, stems = teaching.prepared(corpus, late(1))
    chance = teaching.draws(stems, config.flatten)
    rng = Random()
    say = Augment(lexicon(corpus.pairs), rng)
    model.is_coarse = True
    step_by = optimiser(model, config.rate, config.heads_rate, config.pieces_rate)
    draw = np.random.default_rng((config.seed, 0))
    rng.seed(f"{config.seed}-0")
    model.drop = config.drop
    torch.manual_seed(config.seed)
    some = [rows[n] for n in draw.choice(len(rows), encoder.POOL, p=chance)]
    ready = list(batches(*teaching.read(tokenizer, some, say, rng), encoder.BATCH))
    rng.shuffle(ready)
    done = 0
    for batch in ready:
        done += batch.pieces.numel()
        warm(step_by, min(done, config.tokens), config.tokens)
        torch.autograd.backward(encoder.lesson(model.train(), batch, some))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        step_by.step()
        step_by.zero_grad()
    return model.state_dict(), step_by.state_dict(), done, len(ready), 0.0


def resumed(finished: Run, config: Config, work: Path, kept: Any) -> bytes:
    """Return the weights that a run ends with which finds this checkpoint, or none."""
    corpus, tokenizer, model = begun(finished)
    work.mkdir()
    if kept is not None:
        torch.save(kept, work / "taught.pt")
    encoder.teach(model, tokenizer, corpus, msgspec.structs.replace(config, work=str(work)))
    return (work / "taught.safetensors").read_bytes()


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_where_one_that_was_not_does(
    finished: Run, tmp_path: Path
) -> None:
    corpus, tokenizer, model = begun(finished)
    done: int = one_pool(corpus, tokenizer, model, finished.config)[2]
    config = msgspec.structs.replace(finished.config, tokens=done + 1, agree=0)
    whole = resumed(finished, config, tmp_path / "whole", None)
    kept = one_pool(corpus, tokenizer, begun(finished)[2], config)
    assert resumed(finished, config, tmp_path / "stopped", kept) == whole
    kept[1]["state"].clear()
    assert resumed(finished, config, tmp_path / "without momentum", kept) != whole


@pytest.mark.slow
def test_a_stopped_run_of_the_whole_recipe_goes_on_to_the_same_model(finished: Run) -> None:
    work = finished.root / "stopped"
    work.mkdir()
    for name in ("tokenizer.json", "first.npy", "aligned.safetensors"):
        (work / name).write_bytes((finished.root / "work" / name).read_bytes())
    _, _, model = begun(finished)
    own = finished.config
    step_by = optimiser(model, own.rate, own.heads_rate, own.pieces_rate)
    torch.save((model.state_dict(), step_by.state_dict(), 0, 0, 0.0), work / "taught.pt")
    out = finished.root / "stopped out"
    encoder.main(msgspec.structs.replace(finished.config, work=str(work), out=str(out)))
    assert (out / "encoder.onnx").read_bytes() == (
        finished.root / "out" / "encoder.onnx"
    ).read_bytes()


@pytest.mark.slow
def test_a_checkpoint_that_is_past_the_end_is_the_result(finished: Run, tmp_path: Path) -> None:
    corpus, tokenizer, model = begun(finished)
    config = msgspec.structs.replace(finished.config, work=str(tmp_path), tokens=5)
    step_by = optimiser(model, config.rate, config.heads_rate, config.pieces_rate)
    model.whole.bias.data.fill_(7.0)
    torch.save((model.state_dict(), step_by.state_dict(), 5, 1, 0.0), tmp_path / "taught.pt")
    encoder.teach(begun(finished)[2], tokenizer, corpus, config)
    assert (load_file(tmp_path / "taught.safetensors")["whole.bias"] == 7.0).all()


def test_what_ships_is_the_mean_of_both_rounds_and_a_part_of_what_was_before(
    tmp_path: Path,
) -> None:
    for name, value in (("taught", 1.0), ("taught again", 3.0), ("aligned", 10.0)):
        weights = {"blocks.0.up.weight": torch.tensor([value]), "whole.bias": torch.tensor([value])}
        save_file(weights, tmp_path / f"{name}.safetensors")
    found = encoder.final(tmp_path, 0.25)
    assert found["whole.bias"].item() == 2.0
    assert found["blocks.0.up.weight"].item() == 0.75 * 2.0 + 0.25 * 10.0


@pytest.mark.slow
def test_the_second_round_goes_on_from_the_first(finished: Run, tmp_path: Path) -> None:
    work = finished.root / "work"
    first, second = (load_file(work / f"{name}.safetensors") for name in encoder.ROUNDS)
    aligned = load_file(work / "aligned.safetensors")
    name = "blocks.0.up.weight"
    steps = [(first[name] - aligned[name]).norm(), (second[name] - first[name]).norm()]
    assert all(step > 0 for step in steps)
    assert (second[name] - aligned[name]).norm() > max(steps) * 0.5
    corpus, tokenizer, model = begun(finished)
    model.load_state_dict(first)
    config = msgspec.structs.replace(finished.config, work=str(tmp_path))
    encoder.teach(model, tokenizer, corpus, config, 1)
    assert (tmp_path / "taught again.safetensors").exists()
    assert not (tmp_path / "taught.safetensors").exists()
    assert not [*tmp_path.glob("*.pt")]


class Small(NamedTuple):
    """A vocabulary of both languages, English rows, the words of each topic."""

    tokenizer: Tokenizer
    rows: list[Row]
    harmful: NDArray[np.bool_]
    pieces: int


@pytest.fixture(scope="module")
def small(base_folder: Path, tongue: Tongue) -> Small:
    base = Tokenizer.from_file(str(base_folder / "tokenizer.json"))
    base.no_truncation()
    rng = Random(3)
    bad, good, plain = tongue.words[:15], tongue.words[15:30], tongue.words[30:]
    examples = []
    for n in range(400):
        words = [*rng.choices(plain, k=4), rng.choice(bad if n % 2 else good)]
        rng.shuffle(words)
        label: Any = "unsafe" if n % 2 else "safe"
        kind = Kind.PROMPT if n % 2 else Kind.BENIGN
        examples.append(Example(str(n), " ".join(words), label, kind, lang="en"))
    texts = [row.text for row in examples] + tongue.words
    wanted = [f"▁{word}" for word in tongue.foreign.values()]
    others = {"xx": [tongue.abroad(text) for text in texts]}
    tokenizer = vocabulary.build(base, texts, others, wanted, vocabulary.Size(400, 1_000))
    known = targets(examples, ENCODER_HEADS)
    rows = [
        teaching.row_of(row, known._replace(truth=truth, weight=weight))
        for row, truth, weight in zip(examples, known.truth, known.weight, strict=True)
    ]
    harmful = np.array([row.is_unsafe for row in examples])
    return Small(tokenizer, rows, harmful, len(tokenizer.get_vocab()))


def fresh(small: Small) -> Encoder:
    torch.manual_seed(1)
    model = Encoder(Shape(small.pieces, len(ENCODER_HEADS), 96, 1, 3, 128, 200))
    torch.nn.init.normal_(model.piece.weight, std=0.3)
    return model


def taught(small: Small, say: Augment, rng: Random, steps: int) -> Encoder:
    """Teach a fresh encoder as the recipe does, on the small rows alone."""
    model = fresh(small)
    model.is_coarse = True
    step_by = optimiser(model, 4e-3, 1e-2)
    step = 0
    while step < steps:
        ready = list(batches(*teaching.read(small.tokenizer, small.rows, say, rng), most=1_024))
        rng.shuffle(ready)
        for batch in ready:
            step += 1
            warm(step_by, min(step, steps), steps)
            torch.autograd.backward(encoder.lesson(model.train(), batch, small.rows))
            step_by.step()
            step_by.zero_grad()
    return model.eval()


def logits(small: Small, model: Encoder, texts: Sequence[str]) -> Floats:
    found = np.zeros(len(texts), np.float32)
    ids = [e.ids for e in small.tokenizer.encode_batch([*texts])]
    with torch.no_grad():
        for batch in batches(ids):
            found[batch.rows] = model(*batch[1:])[:, COLUMN].numpy()
    return found


def area(scores: Floats, truth: NDArray[np.bool_]) -> float:
    """Return how often a harmful text scores above a harmless one."""
    return float((scores[truth][:, None] > scores[~truth][None]).mean())


def test_words_of_other_languages_in_english_rows_carry_over_what_they_teach(
    small: Small, tongue: Tongue
) -> None:
    words = lexicon(tongue.pairs(tongue.words))
    english = [row.text for row in small.rows]
    foreign = [tongue.abroad(text) for text in english]
    found = {}
    for switch in (0.0, 0.6):
        rng = Random(5)
        say = Augment(words, rng, switch=switch, romanise=0.0, disguise=0.0)
        model = taught(small, say, rng, 80)
        found[switch] = [
            area(logits(small, model, texts), small.harmful) for texts in (english, foreign)
        ]
    assert found[0.0][0] > 0.95
    assert found[0.6][0] > 0.95
    assert found[0.0][1] < 0.65
    assert found[0.6][1] > 0.9


def test_two_steps_lower_the_loss(small: Small) -> None:
    model = fresh(small)
    rng = Random(0)
    say = Augment({}, rng)
    [batch] = batches(*teaching.read(small.tokenizer, small.rows, say, rng), most=100_000)
    step_by = optimiser(model, 1e-3, 5e-3)
    losses = []
    for _ in range(3):
        value = encoder.lesson(model, batch, small.rows)
        losses.append(value.item())
        torch.autograd.backward(value)
        step_by.step()
        step_by.zero_grad()
    assert losses[0] > losses[1] > losses[2]


def test_the_lesson_is_the_cross_entropy_of_what_is_known(small: Small) -> None:
    model = fresh(small)
    some = small.rows[:6]
    rng = Random(0)
    [batch] = batches(*teaching.read(small.tokenizer, some, Augment({}, rng, disguise=0), rng))
    with torch.no_grad():
        value = float(encoder.lesson(model, batch, some))
        chance = model(*batch[1:]).double().sigmoid().numpy()
    wanted = 0.0
    for place, number in enumerate(batch.rows):
        row = some[number]
        for head, name in enumerate(ENCODER_HEADS):
            likely = chance[place, head] if row.truth[head] else 1 - chance[place, head]
            main = name in {"harm", "toxicity", "injection", "response-harm"}
            wanted -= row.weight[head] * (1.0 if main else 0.3) * np.log(likely)
    assert value == pytest.approx(wanted * 4 / len(ENCODER_HEADS) / 6, rel=0.02)


def test_a_head_that_a_row_says_nothing_of_learns_nothing_from_it(small: Small) -> None:
    model = fresh(small)
    posts = [row._replace(weight=row.weight * (np.arange(len(row.weight)) == COLUMN))
             for row in small.rows[:8]]  # fmt: skip
    rng = Random(0)
    [batch] = batches(*teaching.read(small.tokenizer, posts, Augment({}, rng), rng))
    [slopes] = torch.autograd.grad(encoder.lesson(model, batch, posts), [model.whole.bias])
    assert slopes[COLUMN] != 0
    assert slopes.count_nonzero() == 1


def test_agreement_moves_the_answer_in_the_other_language_to_the_english_one(
    small: Small, tongue: Tongue
) -> None:
    model = fresh(small)
    texts = [row.text for row in small.rows[:64]]
    pairs = tongue.pairs(texts)
    step_by = optimiser(model, 2e-3, 1e-2)

    def apart() -> float:
        sides = [
            logits(small, model, side)
            for side in ([p.english for p in pairs], [p.other for p in pairs])
        ]
        return float(np.abs(sides[0] - sides[1]).mean())

    torch.nn.init.normal_(model.whole.weight, std=0.3)
    before = apart()
    for _ in range(15):
        torch.autograd.backward(encoder.agreement(model, small.tokenizer, pairs))
        step_by.step()
        step_by.zero_grad()
    assert apart() < 0.6 * before


def test_a_rare_source_is_drawn_more_often_than_its_size_has_it() -> None:
    stems = ["many"] * 900 + ["few"] * 100
    chance = teaching.draws(stems, 0.5)
    assert chance.sum() == pytest.approx(1.0)
    assert chance[:900].sum() == pytest.approx(0.75)
    assert teaching.draws(stems, 1.0)[:900].sum() == pytest.approx(0.5)
    assert teaching.draws(["aegis-x", "plain"], 0.5)[0] == pytest.approx(2.5 / 3.5)


def test_what_is_held_out_or_says_nothing_does_not_train() -> None:
    examples = [Example(str(n), f"roses {n}", "safe", Kind.BENIGN) for n in range(400)]
    nothing = Example("spam", "win", "unsafe", Kind.PROMPT, source="UCI SMS Spam Collection")
    rows, stems = teaching.prepared(Corpus([*examples, nothing], ["own"] * 401, []))
    own = [row.text for row, stem in zip(rows, stems, strict=True) if stem == "own"]
    assert own == [row.text for row in examples if not is_held_out(row)]
    assert 350 < len(own) < 400
    assert all(row.weight.any() for row in rows)


word_counts = st.integers(0, 500)


def row_of_length(words: list[str], asked: int, answered: int) -> Row:
    zeros = np.zeros(len(ENCODER_HEADS), np.float32)
    text, answer = (" ".join((words * 4)[:count]) for count in (asked, answered))
    return Row(text, answer, "en", zeros, zeros)


@settings(deadline=None, max_examples=40)
@given(word_counts, word_counts, st.integers(0, 99))
def test_what_is_read_has_room_in_the_model_and_its_marks(
    small: Small, tongue: Tongue, asked: int, answered: int, seed: int
) -> None:
    row = row_of_length(tongue.words, asked, answered)
    rng = Random(seed)
    say = Augment({}, rng, disguise=0.0)
    [tokens], [segments] = teaching.read(small.tokenizer, [row], say, rng)
    assert len(tokens) == len(segments) <= teaching.WINDOW + teaching.REQUEST
    assert len(tokens) < Shape(1, 1).positions
    assert (tokens[0], tokens[-1]) == (vocabulary.CLS, vocabulary.SEP)
    assert segments == sorted(segments)
    if 1 in segments:
        request = tokens[: segments.index(1)]
        assert answered
        assert len(request) <= teaching.REQUEST
        assert request[-1] == vocabulary.SEP
        assert request[1:-1] == small.tokenizer.encode(row.text).ids[1 : len(request) - 1]
    else:
        assert len(tokens) <= teaching.WINDOW
    assert tokens.count(vocabulary.SEP) == 1 + (1 in segments)


def test_a_long_text_shows_its_beginning_its_end_and_its_middle(
    small: Small, tongue: Tongue
) -> None:
    row = row_of_length(tongue.words, 300, 0)
    whole = small.tokenizer.encode(row.text).ids
    rng = Random(1)
    seen = teaching.read(small.tokenizer, [row] * 300, Augment({}, rng, disguise=0.0), rng)[0]
    starts = [ids[1] == whole[1] for ids in seen]
    ends = [ids[-2] == whole[-2] for ids in seen]
    assert sum(starts) == pytest.approx(100, abs=30)
    assert sum(ends) == pytest.approx(100, abs=30)
    assert all(len(ids) == teaching.WINDOW for ids in seen)


def test_an_answer_comes_with_its_request_three_times_of_four(small: Small, tongue: Tongue) -> None:
    row = row_of_length(tongue.words, 8, 5)
    rng = Random(1)
    segments = teaching.read(small.tokenizer, [row] * 400, Augment({}, rng), rng)[1]
    assert sum(1 in each for each in segments) == pytest.approx(300, abs=35)


def test_the_beginning_is_the_base_with_a_vocabulary_of_its_own(
    base_folder: Path, tongue: Tongue, tmp_path: Path
) -> None:
    texts = tongue.sentences(300, Random(0))
    rows = [Example(str(n), text, "safe", Kind.BENIGN, lang="en") for n, text in enumerate(texts)]
    corpus = Corpus(rows, ["own"] * 300, tongue.pairs(texts))
    config = Config("", "", "", str(tmp_path), str(base_folder), english=400, pieces=2_000)
    begin: Callable[[], tuple[Tokenizer, Encoder]] = partial(encoder.begin, corpus, config)
    tokenizer, model = begin()
    base = load_file(base_folder / "model.safetensors")
    assert torch.equal(model.norm.weight, base["embeddings.LayerNorm.weight"])
    assert model.shape._replace(pieces=0) == Shape(0, len(ENCODER_HEADS), 96, 2, 3, 128)
    old = Tokenizer.from_file(str(base_folder / "tokenizer.json")).get_vocab()
    words = base["embeddings.word_embeddings.weight"]
    for word in tongue.words[:50]:
        new = tokenizer.token_to_id(f"▁{word}")
        if new is not None:
            assert torch.equal(model.piece.weight[new], words[old[word]])
    again = begin()
    assert again[0].to_str() == tokenizer.to_str()
    assert torch.equal(again[1].piece.weight, model.piece.weight)


def test_english_and_its_translations_are_chosen_alike_for_all_languages(tongue: Tongue) -> None:
    texts = tongue.sentences(500, Random(0))
    pairs = [
        Pair(text, f"{lang} {text}", lang)
        for lang, count in (("xx", 500), ("yy", 200))
        for text in texts[:count]
    ]
    config = Config("", "", "", pairs=200, switched=0)
    found = encoder.chosen(Corpus([], [], pairs), config, Random(0))
    counts = [sum(pair.lang == lang for pair in found) for lang in ("xx", "yy")]
    assert counts == [100, 100]
