"""A tiny base encoder, and two invented languages whose words translate one to one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from balustrade.train.parallel import Pair

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


class Tongue(NamedTuple):
    """English words, and what each is called elsewhere."""

    words: list[str]
    foreign: dict[str, str]

    def sentences(self, count: int, rng: Random) -> list[str]:
        return [" ".join(rng.choices(self.words, k=rng.randint(4, 8))) for _ in range(count)]

    def abroad(self, text: str) -> str:
        return " ".join(self.foreign[word] for word in text.split())

    def pairs(self, texts: Sequence[str]) -> list[Pair]:
        return [Pair(text, self.abroad(text), "xx") for text in texts]


@pytest.fixture(scope="session")
def tongue() -> Tongue:
    """Return 300 words; their translations are in letters that tell nothing of the original."""
    words = [a + b for a, b in product(("ba", "ko", "ti", "mu", "se", "ra"), repeat=2)]
    words = [a + b for a, b in product(words, ("n", "l", "st", "ck", "rd", "ge", "fo", "wi", "py"))]
    rng = Random(0)
    chosen = sorted(rng.sample(words, 300))
    letters = [chr(n) for n in range(ord("а"), ord("я"))]
    strange = dict.fromkeys("".join(rng.choices(letters, k=5)) for _ in chosen)
    return Tongue(chosen, dict(zip(chosen, strange, strict=True)))


@pytest.fixture(scope="session")
def base_folder(tongue: Tongue, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a random BERT and a WordPiece vocabulary of English words, endings and letters."""
    folder = tmp_path_factory.mktemp("base")
    letters = [chr(n) for n in range(ord("a"), ord("z") + 1)]
    marks = list("0123456789.,:;!?-_()[]{}<>/\\|*#\"'=@&%$+`~^")
    parts = [
        *letters,
        *marks,
        *(f"##{letter}" for letter in [*letters, *marks[:10]]),
        "##ing",
        "##s",
    ]
    names = dict.fromkeys([*MARKS, *parts, *tongue.words])
    tokenizer = Tokenizer(
        models.WordPiece({name: n for n, name in enumerate(names)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(MARKS)
    tokenizer.enable_truncation(8)
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(5)
    made: Any = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=len(names),
            hidden_size=96,
            num_attention_heads=3,
            num_hidden_layers=2,
            intermediate_size=128,
            max_position_embeddings=256,
            initializer_range=0.1,
        ),
        add_pooling_layer=False,
    )
    save_file(made.state_dict(), folder / "model.safetensors")
    return folder
