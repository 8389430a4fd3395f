"""A Hugging Face classifier behind calls, with a tiny model made here."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from balustrade.backends.torch import Torch
from balustrade.core.call import Classify, Embed, Failed, Vectors
from balustrade.core.errors import BackendError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

WORDS = ("you", "are", "a", "fool", "kind", "person", "please", "open", "the", "door", "no", "yes")
TEXTS = (
    "you are a fool",
    "please open the door please open the door",
    "no",
    "a kind person",
    "unheard words",
)


def save(folder: Path, **config: Any) -> Path:
    vocabulary = {word: n for n, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    raw.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
            initializer_range=0.8,
            **config,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("several")
    names = {0: "safe", 1: "injection", 2: "jailbreak"}
    return save(path, id2label=names, label2id={name: n for n, name in names.items()})


def rows(backend: Torch, call: Classify) -> list[list[float]]:
    [reply] = backend.send((call,))
    assert isinstance(reply, Vectors), reply
    return reply.rows()


def close(left: list[float], right: list[float]) -> bool:
    return left == pytest.approx(right, abs=1e-5)


def test_scores_are_those_of_the_model_run_by_hand(folder: Path) -> None:
    found = rows(Torch(str(folder)), Classify("m", TEXTS))
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        for text, row in zip(TEXTS, found, strict=True):
            logits = model(**tokenizer(text, return_tensors="pt")).logits[0]
            assert close(row, torch.softmax(logits, -1).tolist())
    assert len({tuple(row) for row in found}) == len(TEXTS)


def test_a_batch_equals_its_items_in_order(folder: Path) -> None:
    backend = Torch(str(folder), batch=2)
    together = rows(backend, Classify("m", TEXTS))
    for text, row in zip(TEXTS, together, strict=True):
        [alone] = rows(backend, Classify("m", (text,)))
        assert close(alone, row)


def test_labels_come_from_the_model(folder: Path) -> None:
    [reply] = Torch(str(folder)).send((Classify("m", ("no",)),))
    assert isinstance(reply, Vectors)
    assert reply.labels == ("safe", "injection", "jailbreak")
    [empty] = Torch(str(folder)).send((Classify("m", ()),))
    assert isinstance(empty, Vectors)
    assert (empty.rows(), empty.labels) == ([], reply.labels)


def test_an_answer_is_judged_with_what_was_asked(folder: Path) -> None:
    backend = Torch(str(folder))
    asked = rows(backend, Classify("m", ("yes", "yes"), ("open the door", "you fool")))
    assert not close(asked[0], asked[1])
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        pair = tokenizer("you fool", "yes", return_tensors="pt")
        assert close(asked[1], torch.softmax(model(**pair).logits[0], -1).tolist())


@pytest.mark.parametrize(
    "config", [{"num_labels": 3, "problem_type": "multi_label_classification"}, {"num_labels": 1}]
)
def test_labels_that_do_not_exclude_each_other_are_scored_apart(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    path = save(tmp_path, **config)
    found = rows(Torch(str(path)), Classify("m", TEXTS[:1]))
    model = transformers.AutoModelForSequenceClassification.from_pretrained(path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    with torch.no_grad():
        logits = model(**tokenizer(TEXTS[0], return_tensors="pt")).logits[0]
    assert close(found[0], torch.sigmoid(logits).tolist())


def test_a_text_beyond_the_limit_is_cut_not_refused(folder: Path) -> None:
    backend = Torch(str(folder), max_tokens=16)
    assert close(
        *rows(backend, Classify("m", ("fool " * 5000, "fool " * 14)))  # 14 words, two marks
    )


def test_other_calls_and_missing_folders_are_failures(folder: Path, tmp_path: Path) -> None:
    [reply] = Torch(str(folder)).send((Embed("m", ("x",)),))
    assert isinstance(reply, Failed)
    with pytest.raises(BackendError, match="no such folder"):
        Torch(str(tmp_path / "absent")).send((Classify("m", ("x",)),))
    with pytest.raises(BackendError, match="cannot be loaded"):
        Torch(str(tmp_path)).send((Classify("m", ("x",)),))


def test_sync_and_async_agree(folder: Path) -> None:
    backend = Torch(str(folder))
    call = Classify("m", TEXTS)
    assert asyncio.run(backend.asend((call,))) == backend.send((call,))


def test_without_torch_the_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from balustrade.backends.torch import Torch\n"
        "from balustrade.core.call import Classify\n"
        "from balustrade.core.errors import MissingExtraError\n"
        "try: Torch('tiny').send((Classify('m', ('x',)),))\n"
        "except MissingExtraError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "model 'tiny' needs the module 'torch'; install it with: pip install 'balustrade[torch]'"
    )
