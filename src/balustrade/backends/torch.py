"""Answer classification calls with a Hugging Face sequence classifier, by hub name or local path.

Texts are sorted by length before they are padded, so that a short text does not pay for a long
one beside it. Labels are the model's own (`config.id2label`); scores are a sigmoid of each logit
where the model is multi-label or has one logit, else a softmax over all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast

from msgspec import Struct

from balustrade.backends import pretrained
from balustrade.backends.device import lock_of
from balustrade.core.call import Call, Classify, Failed, Reply, Vectors


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
        return pretrained.torch_for(self.name)

    @cached_property
    def _model(self) -> Any:  # noqa: ANN401
        model = pretrained.model(self.name, "AutoModelForSequenceClassification", self.device)
        if model.config.pad_token_id is None:
            model.config.pad_token_id = self._tokenizer.pad_token_id
        return model

    @cached_property
    def _tokenizer(self) -> Any:  # noqa: ANN401
        return pretrained.tokenizer(self.name)

    def _classify(self, call: Classify) -> Reply:
        if not call.texts:
            return Vectors(b"", len(self.labels), self.labels)
        contexts = call.contexts or ("",) * len(call.texts)
        rows: list[list[float]] = [[]] * len(call.texts)
        order = sorted(range(len(rows)), key=lambda slot: len(call.texts[slot]))
        # A text that answers nothing is no pair, whatever shares its call.
        for paired in (False, True):
            alike = [slot for slot in order if bool(contexts[slot]) is paired]
            for start in range(0, len(alike), self.batch):
                slots = alike[start : start + self.batch]
                given = [[call.texts[slot] for slot in slots]]
                if paired:
                    given.insert(0, [contexts[slot] for slot in slots])
                for slot, scores in zip(slots, self._scores(given, apart=call.apart), strict=True):
                    rows[slot] = scores
        return Vectors.of(rows, self.labels)

    def _scores(self, given: Sequence[list[str]], *, apart: bool) -> list[list[float]]:
        """Run one forward pass; a text that answers another is given as the second of a pair."""
        limit = min(self.max_tokens, self._tokenizer.model_max_length)
        with lock_of(self.device), self._torch.inference_mode():
            config = self._model.config
            inputs = self._tokenizer(
                *given, padding=True, truncation=True, max_length=limit, return_tensors="pt"
            ).to(self.device)
            logits = self._model(**inputs).logits.float()
        several = apart or config.problem_type == "multi_label_classification"
        scores = logits.sigmoid() if several or config.num_labels == 1 else logits.softmax(dim=-1)
        return cast("list[list[float]]", scores.cpu().tolist())
