"""Answer classification calls with a Hugging Face sequence classifier, by hub name or local path.

Texts are sorted by length before they are padded, so that a short text does not pay for a long
one beside it. Labels are the model's own (`config.id2label`); scores are a sigmoid of each logit
where the model is multi-label or has one logit, else a softmax over all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from msgspec import Struct

from balustrade.core.call import Call, Classify, Failed, Reply, Vectors
from balustrade.core.errors import BackendError
from balustrade.core.registry import require


class Torch(Struct, frozen=True, dict=True):
    """A sequence classifier; its weights are read when they are first needed."""

    name: str
    """A name on the hub, or the path of a folder that holds the model and its tokenizer."""
    device: str = "cpu"
    batch: int = 32
    """Texts a forward pass."""
    max_tokens: int = 512
    """A longer text is cut here, or at the tokenizer's own limit if that is lower."""

    def send(self, calls: tuple[Call, ...]) -> list[Reply]:
        """Answer each call in order; what is no classification is a failure."""
        return [
            self._classify(call)
            if isinstance(call, Classify)
            else Failed(f"model {self.name!r} answers only classifications")
            for call in calls
        ]

    async def asend(self, calls: tuple[Call, ...]) -> Sequence[Reply]:
        """Answer the calls in a thread, off the loop."""
        return await asyncio.to_thread(self.send, calls)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The model's labels, in the order of its outputs."""
        names: dict[int, str] = self._model.config.id2label
        return tuple(str(names[number]) for number in range(self._model.config.num_labels))

    @cached_property
    def _torch(self) -> Any:  # noqa: ANN401 - torch is optional, so it is unknown to the types
        return require(f"model {self.name!r}", "torch")

    @cached_property
    def _model(self) -> Any:  # noqa: ANN401
        model = self._load("AutoModelForSequenceClassification").to(self.device).eval()
        if model.config.pad_token_id is None:
            model.config.pad_token_id = self._tokenizer.pad_token_id
        return model

    @cached_property
    def _tokenizer(self) -> Any:  # noqa: ANN401
        tokenizer = self._load("AutoTokenizer")
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    def _load(self, kind: str) -> Any:  # noqa: ANN401
        _ = self._torch
        transformers = cast("Any", require(f"model {self.name!r}", "transformers"))
        path = Path(self.name)
        if not path.is_dir() and self.name.startswith((".", "/", "~")):
            raise BackendError(f"model {self.name!r}: there is no such folder")
        try:
            return getattr(transformers, kind).from_pretrained(self.name)
        except (OSError, ValueError) as error:
            first = str(error).strip().partition("\n")[0]
            raise BackendError(f"model {self.name!r} cannot be loaded: {first}") from error

    def _classify(self, call: Classify) -> Reply:
        if not call.texts:
            return Vectors(b"", len(self.labels), self.labels)
        order = sorted(range(len(call.texts)), key=lambda slot: len(call.texts[slot]))
        rows: list[list[float]] = [[]] * len(order)
        for start in range(0, len(order), self.batch):
            slots = order[start : start + self.batch]
            texts = [call.texts[slot] for slot in slots]
            contexts = [call.contexts[slot] for slot in slots] if any(call.contexts) else None
            for slot, scores in zip(slots, self._scores(texts, contexts), strict=True):
                rows[slot] = scores
        return Vectors.of(rows, self.labels)

    def _scores(self, texts: list[str], contexts: list[str] | None) -> list[list[float]]:
        """Run one forward pass; a text that answers another is given as the second of a pair."""
        limit = min(self.max_tokens, self._tokenizer.model_max_length)
        pair = (contexts, texts) if contexts else (texts,)
        inputs = self._tokenizer(
            *pair, padding=True, truncation=True, max_length=limit, return_tensors="pt"
        ).to(self.device)
        with self._torch.inference_mode():
            logits = self._model(**inputs).logits.float()
        several = self._model.config.problem_type == "multi_label_classification"
        alone = self._model.config.num_labels == 1
        scores = logits.sigmoid() if several or alone else logits.softmax(dim=-1)
        return cast("list[list[float]]", scores.cpu().tolist())
