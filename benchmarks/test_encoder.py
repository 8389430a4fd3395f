"""Speed of the encoder and the cascade: `OMP_NUM_THREADS=1 pytest benchmarks/test_encoder.py`.

Medians are p50. `TIERS=FOLDER` takes the tiers of another folder than those that are shipped.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from random import Random

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from tokenizers import Tokenizer

from balustrade import shipped
from balustrade.backends.onnx import Onnx
from balustrade.backends.tiers import Tiers
from balustrade.core.content import Content
from balustrade.flow.run import run
from balustrade.guards.classifier import Classifier

FOLDER = Path(os.environ.get("TIERS", shipped.HERE))
pytestmark = pytest.mark.skipif(
    not (FOLDER / "encoder.json").exists(), reason=f"{FOLDER}/encoder.json is not there"
)

PROSE = (
    "how do the people of this small town make bread when flour and time are short and "
    "every kitchen has another oven what should one learn before buying tools from a shop"
)
CHAT = (
    "hi, can you help me with my homework?",
    "What's the capital of Australia?",
    "Write a short poem about autumn for my daughter.",
    "Thanks, that worked!",
    "How long should I boil eggs so that the yolk stays soft?",
    "Translate 'good morning' into Italian, please.",
    "Summarise this meeting in three bullet points: we agreed on the budget, moved the launch to "
    "May, and Anna will talk to the printer.",
    "Which laptop would you buy for about 900 euros?",
    "My flight leaves at 6 am. When should I be at the airport?",
    "Explain photosynthesis as if I were ten.",
    "def area(r): return 3.14 * r ** 2  # why is my result off?",
    "I feel tired after lunch every day, is that normal?",
    "Could you make this e-mail sound friendlier? 'Send me the report today.'",
    "What are good names for a grey cat?",
    "Plan a three-day trip to Lisbon with two children.",
    "How do I remove a red wine stain from a shirt?",
    "Is it correct to say 'fewer people' or 'less people'?",
    "Give me five ideas for a birthday party in the garden.",
    "ok and what about the second one?",
    "How many litres are in a gallon?",
    "Wie koche ich Kartoffelsuppe für sechs Personen?",
    "¿Qué tiempo hará mañana en Sevilla?",
    "Peux-tu corriger les fautes dans ma lettre ?",
    "今天晚上吃什么好？",
    "주말에 볼 만한 영화를 추천해 줘.",
    "Qual é a diferença entre 'por' e 'para'?",
    "Как правильно хранить свежий хлеб?",
    "कल सुबह की ट्रेन कितने बजे है?",
    "Recommend a book like The Hobbit.",
    "What does this error mean: 'list index out of range'?",
)
"""Ordinary lines of our own; what is unsure among them is paid for by the encoder."""


def words(tokenizer: Tokenizer, tokens: int, seed: int) -> str:
    """Return a text of so many tokens, marks included."""
    rng = Random(seed)
    text = ""
    while True:
        longer = f"{text} {rng.choice(PROSE.split())}"
        if len(tokenizer.encode(longer).ids) > tokens:
            return text.strip()
        text = longer


@pytest.fixture(scope="module")
def texts() -> Callable[[int, int], list[str]]:
    known = shipped.describe("encoder", FOLDER)
    data = gzip.decompress((FOLDER / known.tokenizer).read_bytes())
    tokenizer = Tokenizer.from_str(data.decode())
    return lambda count, tokens: [words(tokenizer, tokens, seed) for seed in range(count)]


@pytest.mark.parametrize("tokens", [30, 128])
def test_encode_one(
    benchmark: BenchmarkFixture, texts: Callable[[int, int], list[str]], tokens: int
) -> None:
    model, lines = Onnx("encoder", FOLDER, workers=1), cycle(texts(8, tokens))
    benchmark(lambda: model.scores([next(lines)]))


@pytest.mark.parametrize("workers", [1, 2])
def test_encode_256_of_64_tokens(
    benchmark: BenchmarkFixture, texts: Callable[[int, int], list[str]], workers: int
) -> None:
    model, batch = Onnx("encoder", FOLDER, workers=workers), texts(256, 64)
    benchmark(lambda: model.scores(batch))
    benchmark.extra_info["texts a second"] = 256 / benchmark.stats.stats.median


def test_cascade_on_chat(benchmark: BenchmarkFixture) -> None:
    model, lines = Tiers("cascade", FOLDER), cycle(CHAT)
    model.load()
    benchmark.extra_info["asked"] = model.settle(CHAT).unsure.size / len(CHAT)
    benchmark.pedantic(lambda: model.scores([next(lines)]), rounds=20 * len(CHAT), warmup_rounds=30)


def test_guard_with_cascade_on_chat(benchmark: BenchmarkFixture) -> None:
    model, guard, lines = Tiers("cascade", FOLDER), Classifier(model="cascade"), cycle(CHAT)
    model.load()
    benchmark.pedantic(
        lambda: run(guard.check([Content.of(next(lines))]), model.send),
        rounds=20 * len(CHAT),
        warmup_rounds=30,
    )
