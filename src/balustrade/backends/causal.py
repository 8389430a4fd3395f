"""A causal decoder of Hugging Face with a token head, fed token by token.

The layout is that of the checkpoints of arXiv 2506.09996: a decoder under `model.*` (or whatever
prefix transformers knows it by), and over its states the linear head `token_classifier`, benign and
harmful. `sequence_classifier` is not read, and may be absent.

What was read is left behind as keys and values. They are never written to, so that what was given
back once can be read on from twice; a step computes the new tokens alone, and copies the rest.
Texts share a forward pass: memories are padded before, new tokens behind, and positions are
counted from the first real token, so that a text's scores are those it has alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from msgspec import Struct

from balustrade.backends import pretrained
from balustrade.backends.lengths import batches
from balustrade.core.errors import BackendError

HEAD = "token_classifier"
HARMFUL = 1
FEW = 16
"""Texts that have at most so many new tokens share a forward pass, however many each has."""
NEAR = 0.05
"""How far states may be apart that should be the same, as a share of their length."""


class Memory(Struct, frozen=True, eq=False):
    """What tokens left behind, and how many there were."""

    layers: tuple[tuple[Any, Any], ...] = ()
    """Keys and values of each layer, shape (heads, time, width)."""
    seen: int = 0


class Feed(NamedTuple):
    """Tokens to read, after those in memory."""

    tokens: list[int]
    memory: Memory = Memory()


class Fed(NamedTuple):
    """What was read: the probability of harm at each token, and what is left behind."""

    scores: list[float]
    memory: Memory


class Causal(Struct, frozen=True, dict=True):
    """A decoder and its head; the weights are read when they are first needed."""

    name: str
    device: str = "cpu"
    batch: int = 32
    """Texts a forward pass."""
    tokens: int = 16_384
    """Tokens a forward pass, those in memory and padding included."""

    @property
    def context(self) -> int:
        """How many tokens the decoder can hold in memory."""
        return int(self._config.max_position_embeddings)

    def run(self, feeds: Sequence[Feed]) -> list[Fed]:
        """Read on in each text.

        Raises:
            BackendError: The model has no token head, or is no causal decoder.
        """
        found: dict[int, Fed] = {}
        for slots in self._together(feeds):
            states, memories = self._loaded.run([feeds[slot] for slot in slots])
            harm = self._harm(states).tolist()
            for slot, row, memory in zip(slots, harm, memories, strict=True):
                found[slot] = Fed(row[: len(feeds[slot].tokens)], memory)
        return [found[slot] for slot in range(len(feeds))]

    def _together(self, feeds: Sequence[Feed]) -> Iterator[list[int]]:
        """Yield the slots of each forward pass: like in new tokens, then in all."""
        alike: dict[int, list[int]] = {}
        for slot, feed in enumerate(feeds):
            alike.setdefault((max(FEW, len(feed.tokens)) - 1).bit_length(), []).append(slot)
        for slots in alike.values():
            sizes = [feeds[slot].memory.seen + len(feeds[slot].tokens) for slot in slots]
            for places in batches(sizes, self.batch, self.tokens):
                yield [slots[place] for place in places]

    def _harm(self, states: Any) -> Any:  # noqa: ANN401 - torch is optional, so it has no types
        """Return the probability of harm at each token, shape (batch, time)."""
        torch = self._loaded.torch
        with torch.inference_mode():
            logits = torch.nn.functional.linear(states.float(), *self._head)
            return logits.softmax(-1)[..., HARMFUL].cpu()

    @cached_property
    def _loaded(self) -> _Loaded:
        torch = pretrained.torch_for(self.name)
        cache = pretrained.transformers_for(self.name).DynamicCache
        made = _Loaded(torch, pretrained.model(self.name, "AutoModel", self.device), cache)
        _require_causal(self.name, made)
        return made

    @property
    def _config(self) -> Any:  # noqa: ANN401
        config = self._loaded.model.config
        return getattr(config, "text_config", None) or config

    @cached_property
    def _head(self) -> tuple[Any, Any]:
        found = pretrained.weights(self.name, lambda key: key.startswith(f"{HEAD}."))
        shapes = {key.removeprefix(f"{HEAD}."): tuple(part.shape) for key, part in found.items()}
        expected = {"weight": (2, self._config.hidden_size), "bias": (2,)}
        if shapes != expected:
            raise BackendError(
                f"model {self.name!r} is no stream monitor: expected a {HEAD} with {expected}, "
                f"found {shapes or 'none'}"
            )
        weight, bias = (found[f"{HEAD}.{part}"].float().to(self.device) for part in expected)
        return weight, bias


class _Loaded(NamedTuple):
    """What runs. None of it has types, as torch and transformers are optional."""

    torch: Any
    model: Any
    cache: Any
    """The class of caches."""

    def run(self, feeds: Sequence[Feed]) -> tuple[Any, list[Memory]]:
        """Make one forward pass; return the states of new tokens, padded behind, and memories."""
        old, new = max(feed.memory.seen for feed in feeds), max(len(feed.tokens) for feed in feeds)
        rows, real, places = [], [], []
        for feed in feeds:
            seen, own = feed.memory.seen, len(feed.tokens)
            rows.append([*feed.tokens, *[0] * (new - own)])
            real.append([*[0] * (old - seen), *[1] * (seen + own), *[0] * (new - own)])
            # What stands behind the last token is looked at by none; its place only has to exist.
            places.append([seen + min(n, own - 1) for n in range(new)])
        made, device = self.torch.tensor, self.model.device
        with self.torch.inference_mode():
            cache = self._joined(feeds, old)
            states = self.model(
                input_ids=made(rows, device=device),
                attention_mask=made(real, device=device),
                position_ids=made(places, device=device),
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
            return states, [_parted(cache, slot, feed, old) for slot, feed in enumerate(feeds)]

    def _joined(self, feeds: Sequence[Feed], old: int) -> Any:  # noqa: ANN401
        """Return a cache of all memories, padded before, that shares nothing with them.

        It is one without windows, whatever the layers look at: what is too far is masked.
        """
        cache = self.cache()
        known = max((feed.memory.layers for feed in feeds), key=len)
        for layer, parts in enumerate(known):
            made = []
            for part, like in enumerate(parts):
                every = like.new_zeros((len(feeds), like.shape[0], old, like.shape[2]))
                for slot, feed in enumerate(feeds):
                    if feed.memory.seen:
                        every[slot, :, old - feed.memory.seen :] = feed.memory.layers[layer][part]
                made.append(every)
            cache.update(*made, layer)
        return cache


def _parted(cache: Any, slot: int, feed: Feed, old: int) -> Memory:  # noqa: ANN401
    """Return one text's part of a cache, without padding."""
    first, end = old - feed.memory.seen, old + len(feed.tokens)
    # A copy, as a view would keep the memories of all texts of this pass alive.
    layers = ([part[slot, :, first:end].clone() for part in layer[:2]] for layer in cache)
    return Memory(tuple((keys, values) for keys, values in layers), end - first)


def _require_causal(name: str, loaded: _Loaded) -> None:
    """Raise BackendError unless reading on gives the states of reading at once."""
    try:
        whole, _ = loaded.run([Feed([0, 1, 2, 3])])
        first, [memory] = loaded.run([Feed([0, 1])])
        then, _ = loaded.run([Feed([2, 3], memory)])
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        raise BackendError(
            f"model {name!r} is no decoder that keeps keys and values: {error}"
        ) from error
    parts = loaded.torch.cat([first, then], 1).float()
    if not memory.layers or not (parts - whole.float()).norm() <= NEAR * whole.float().norm():
        raise BackendError(
            f"model {name!r} is no causal decoder: a token's state hangs on what follows it"
        )
