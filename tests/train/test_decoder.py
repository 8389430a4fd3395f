"""A monitor over a decoder of Hugging Face: taught, kept as published ones are, and served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from balustrade.backends import pretrained
from balustrade.backends.scm import Scm
from balustrade.backends.tokens import Tokens
from balustrade.core.errors import BackendError
from balustrade.data.fineharm import FineHarm
from balustrade.models.decoder import Decoder
from balustrade.models.scm import BENIGN, HARMFUL, IGNORED, Monitor
from balustrade.train.decoder import begin, lesson, load, save
from balustrade.train.scm import Teaching, padded, teach

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

WORDS = ("Take", "a", "cup", ".", "Mix", "bleach", "and", "acid", ".", "Wait", ".")
ROW = FineHarm(
    "1", "What now?", "Take a cup.\n\nMix bleach and acid. Wait.", "made",
    ("Take a cup.", "Mix bleach and acid.", "Wait."), (0, 1, 0),
    (WORDS[:4], WORDS[4:9], WORDS[9:]), ((0, 0, 0, 0), (1, 1, 0, 1, 0), (0, 0)),
)  # fmt: skip
CALM = FineHarm(
    "2", "And now?", "Take a cup. Wait.", "made", ("Take a cup.", "Wait."), (0, 0),
    (WORDS[:4], WORDS[9:]), ((0, 0, 0, 0), (0, 0)),
)  # fmt: skip


def made(path: Path, kind: str) -> str:
    raw = tokenizers.Tokenizer(tokenizers.models.BPE())
    raw.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=280, special_tokens=["<pad>"], initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator([ROW.response] * 9, trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>")
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, pad_token_id=0,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(2)
    getattr(transformers, f"{kind}ForCausalLM")(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module", params=["Qwen2", "Llama"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Make a plain language model, as a recipe begins with."""
    return made(tmp_path_factory.mktemp("base"), request.param)


def reader(base: str) -> Tokens:
    return Tokens(pretrained.tokenizer(base))


def taught(base: str) -> Monitor:
    torch.manual_seed(1)
    model = begin(base)
    rows = [lesson(row, reader(base)) for row in (ROW, CALM) * 8]
    losses = teach(model, rows, Teaching(rate=3e-3, epochs=4, batch=4))
    assert sum(losses[-3:]) < sum(losses[:3])
    return model


def batch(base: str) -> Any:
    return padded([lesson(row, reader(base)) for row in (ROW, CALM)], 512)


def test_a_decoder_is_taught_kept_taken_up_and_served(base: str, tmp_path: Path) -> None:
    from safetensors import safe_open

    model = taught(base)
    save(model, base, tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as held:
        names = set(held.keys())
    assert "model.embed_tokens.weight" in names
    assert {name for name in names if not name.startswith("model.")} == {
        "token_classifier.weight",
        "token_classifier.bias",
        "sequence_classifier.weight",
    }
    assert json.loads((tmp_path / "config.json").read_text("utf-8"))["num_token_labels"] == 2
    pieces, _, mask, *_ = batch(base)
    again = load(str(tmp_path))
    for one, other in zip(again.eval()(pieces, mask), model(pieces, mask), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    [served] = Scm(str(tmp_path)).read([ROW.prompt], [ROW.response], ends=True)
    scores = model.scores(pieces, mask)[0].tolist()
    rest = iter(scores[len(reader(base).request(ROW.prompt)) :])
    texts = ["Take", " a", " cup.", "\n\nMix", " bleach", " and", " acid.", " Wait."]
    expected = [max(next(rest) for _ in ids) for ids in reader(base).words(texts)]
    assert [word.score for word in served.words] == pytest.approx(expected, abs=1e-4)
    assert min(expected[4], expected[6]) > max(expected[0], expected[7])


def test_the_holistic_head_may_be_absent_and_changes_no_token(base: str, tmp_path: Path) -> None:
    model = begin(base).eval()
    pieces, _, mask, *_ = batch(base)
    before = model.scores(pieces, mask)
    model.detach_holistic()
    save(model, base, tmp_path)
    again = load(str(tmp_path)).eval()
    assert again.sequence_classifier is None
    assert torch.equal(again.scores(pieces, mask), before)


def test_a_plain_language_model_is_no_monitor(base: str) -> None:
    with pytest.raises(BackendError, match="is no stream monitor: token_classifier: "):
        load(base)


def test_what_follows_and_padding_change_no_score(base: str) -> None:
    model = begin(base).eval()
    pieces, _, mask, *_ = batch(base)
    whole = model.scores(pieces, mask)
    for size in (1, 9, int(mask[1].sum())):
        part = model.scores(pieces[:, :size], mask[:, :size])
        torch.testing.assert_close(part, whole[:, :size], atol=1e-5, rtol=0)


def test_the_backbone_knows_its_width(base: str) -> None:
    backbone = begin(base).backbone
    assert isinstance(backbone, Decoder)
    assert backbone.width == 32


def test_a_lesson_has_the_tokens_that_are_served_and_the_labels_of_words(base: str) -> None:
    made_ = lesson(ROW, reader(base))
    tokens = reader(base)
    texts = ["Take", " a", " cup.", "\n\nMix", " bleach", " and", " acid.", " Wait."]
    words = tokens.words(texts)
    before = len(tokens.request(ROW.prompt))
    assert made_.pieces == [*tokens.request(ROW.prompt), *(n for ids in words for n in ids)]
    assert set(made_.labels[:before]) == {IGNORED}
    rest = iter(made_.labels[before:])
    said = [[next(rest) for _ in ids] for ids in words]
    assert [HARMFUL in own for own in said] == [False] * 3 + [True, True, False, True, False]
    assert said[3][0] == BENIGN
    assert said[6][-1] == BENIGN
    assert IGNORED not in made_.labels[before:]
