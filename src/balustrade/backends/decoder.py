"""Answer generation calls with a Hugging Face causal language model.

A label is scored by one forward pass without a cache: what is read is the probability of its first
token after the prompt. Only what must be written out, a line of categories, is decoded.

Prompts are sorted by length and padded on the left, with positions counted from the first real
token, so that a prompt's scores do not depend on what shares its batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from inspect import signature
from math import exp, log
from typing import Any

from msgspec import Struct

from balustrade.backends import pretrained
from balustrade.backends.device import lock_of
from balustrade.backends.lengths import batches
from balustrade.core.call import Generate, Reply, Texts
from balustrade.core.errors import BackendError


class Decoder(Struct, frozen=True, dict=True):
    """A causal language model; its weights are read when they are first needed."""

    name: str
    """A name on the hub, or the path of a folder that holds the model and its tokenizer."""
    device: str = "cpu"
    batch: int = 32
    """Prompts a forward pass."""
    tokens: int = 16_384
    """Tokens a forward pass, padding included."""

    def answer(self, call: Generate) -> Reply:
        """Continue each prompt, by one of the choices if there are any.

        A raw prompt is encoded as it stands; the token that begins a text is put before it where
        the tokenizer would do so and the prompt does not already begin with it. Any other prompt
        is the user's message in the model's own chat template.

        Raises:
            BackendError: A prompt is longer than the model reads, or it knows no chat template.
        """
        with lock_of(self.device):
            prompts = self._encoded(call)
            odds: list[dict[str, float]] = [{} for _ in prompts]
            texts = [""] * len(prompts)
            for slots in batches([len(prompt) for prompt in prompts], self.batch, self.tokens):
                part = [prompts[slot] for slot in slots]
                if call.choices or call.logprobs:
                    for slot, each in zip(slots, self._odds(part, call), strict=True):
                        odds[slot] = each
                if not call.choices:
                    for slot, text in zip(slots, self._written(part, call), strict=True):
                        texts[slot] = text
        if call.choices:
            texts = [max(call.choices, key=lambda c: self._chance(each, c)) for each in odds]
        return Texts(tuple(texts), tuple(odds) if call.logprobs else ())

    @cached_property
    def _torch(self) -> Any:  # noqa: ANN401 - torch is optional, so it is unknown to the types
        return pretrained.torch_for(self.name)

    @cached_property
    def _model(self) -> Any:  # noqa: ANN401
        kinds = pretrained.settings(self.name).get("architectures") or [""]
        whole = kinds[0].endswith("ForConditionalGeneration")
        kind = kinds[0] if whole else "AutoModelForCausalLM"
        return pretrained.model(self.name, kind, self.device)

    @cached_property
    def _tokenizer(self) -> Any:  # noqa: ANN401
        return pretrained.tokenizer(self.name)

    @cached_property
    def _keep(self) -> dict[str, int]:
        """How this version of transformers is told that only the last position matters."""
        known = signature(self._model.forward).parameters
        name = next((n for n in ("logits_to_keep", "num_logits_to_keep") if n in known), "")
        return {name: 1} if name else {}

    @cached_property
    def _begin(self) -> list[int]:
        """The token that the tokenizer puts before a text of its own accord, if any."""
        first = self._tokenizer.bos_token_id
        return [first] if first is not None and self._tokenizer("a").input_ids[0] == first else []

    @cached_property
    def _limit(self) -> int:
        config = self._model.config
        config = getattr(config, "text_config", None) or config
        return int(min(config.max_position_embeddings, self._tokenizer.model_max_length))

    def _encoded(self, call: Generate) -> list[list[int]]:
        texts = call.prompts if call.raw else [self._chat(p, call.system) for p in call.prompts]
        encoded = [self._tokenizer(text, add_special_tokens=False).input_ids for text in texts]
        room = self._limit - (0 if call.choices else call.max_tokens)
        for number, ids in enumerate(encoded):
            if ids[:1] != self._begin:
                ids[:0] = self._begin
            if not 0 < len(ids) <= room:
                raise BackendError(
                    f"model {self.name!r} reads 1 to {room} tokens, prompt {number} has "
                    f"{len(ids)}; lower the guard's window"
                )
        return encoded

    def _chat(self, prompt: str, system: str) -> str:
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": prompt})
        if not self._tokenizer.chat_template:
            raise BackendError(f"model {self.name!r} has no chat template; name its format")
        text: str = self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        return text

    def _padded(self, prompts: Sequence[Sequence[int]]) -> dict[str, Any]:
        longest, pad = max(map(len, prompts)), self._tokenizer.pad_token_id or 0
        rows = [[pad] * (longest - len(ids)) + list(ids) for ids in prompts]
        real = [[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts]
        made = self._torch.tensor
        return {
            "input_ids": made(rows, device=self.device),
            "attention_mask": made(real, device=self.device),
        }

    def _odds(self, prompts: Sequence[Sequence[int]], call: Generate) -> list[dict[str, float]]:
        """Return log-probabilities of the next token: the likeliest, and those of the choices."""
        inputs = self._padded(prompts)
        places = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        with self._torch.inference_mode():
            out = self._model(**inputs, position_ids=places, use_cache=False, **self._keep)
            odds = out.logits[:, -1].float().log_softmax(-1)
        likeliest = odds.topk(min(max(call.logprobs, 1), odds.shape[-1])).indices.tolist()
        chosen = [token for choice in call.choices for token in self._first(choice)]
        found = []
        for row, top in zip(odds.cpu(), likeliest, strict=True):
            ids = list(dict.fromkeys((*top, *chosen)))
            found.append(self._by_text(ids, row[ids].tolist()))
        return found

    def _by_text(self, ids: Iterable[int], odds: Iterable[float]) -> dict[str, float]:
        """Return each token's text with its log-probability; tokens of one text count together."""
        found: dict[str, float] = {}
        for token, odd in zip(ids, odds, strict=True):
            text = self._tokenizer.decode([token])
            found[text] = log(exp(found[text]) + exp(odd)) if text in found else odd
        return found

    def _first(self, choice: str) -> list[int]:
        """Return the first tokens of a choice, alone and after a blank."""
        spellings = (choice, f" {choice}")
        ids = [self._tokenizer(each, add_special_tokens=False).input_ids for each in spellings]
        return [each[0] for each in ids if each]

    def _chance(self, odds: dict[str, float], choice: str) -> float:
        texts = {self._tokenizer.decode([token]) for token in self._first(choice)}
        return sum(exp(odds[text]) for text in texts)

    def _written(self, prompts: Sequence[Sequence[int]], call: Generate) -> list[str]:
        inputs = self._padded(prompts)
        with self._torch.inference_mode():
            out = self._model.generate(
                **inputs,
                max_new_tokens=call.max_tokens,
                do_sample=False,
                pad_token_id=self._tokenizer.pad_token_id or 0,
            )
        new = out[:, inputs["input_ids"].shape[1] :].tolist()
        return [self._tokenizer.decode(ids, skip_special_tokens=True) for ids in new]
