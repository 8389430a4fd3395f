"""Qwen3Guard-Stream: a Qwen3 body with heads that judge every token.

The repository's own code is not run. What is built here is taken from the published config
(`architectures`: Qwen3ForGuardModel, `guard_inner_size`, `num_risk_level`, `num_category`,
`num_query_risk_level`, `num_query_category`, `rms_norm_eps`, and Qwen3's own fields) and from
the names of its tensors: for the response, and with `query_` before them for the request,
`risk_level_category_pre` (linear, no bias), `risk_level_category_layernorm` (RMS), then
`risk_level_head` and `category_head`; `model.*` is the body. Their order, and how tokens become a
verdict, are those of QwenLM/Qwen3Guard, `eval/eval_stream.py`.

A request is judged at the token that ends it. A response is unsafe where two neighbouring tokens
are, so its score is the highest that both of two neighbours reach, and its categories are those
where that is. A whole text is judged at once; the model's state between tokens is not kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, cast

from msgspec import Struct

from balustrade.backends import pretrained
from balustrade.backends.device import lock_of
from balustrade.backends.lengths import batches
from balustrade.core.call import Classify, Reply, Vectors
from balustrade.core.errors import BackendError
from balustrade.core.registry import require

ARCHITECTURE = "Qwen3ForGuardModel"
RISKS = ("Safe", "Unsafe", "Controversial")
CATEGORIES = (
    "Violent",
    "Sexual Content or Sexual Acts",
    "Suicide & Self-Harm",
    "Politically Sensitive Topics",
    "PII",
    "Copyright Violation",
    "Non-violent Illegal Acts",
    "Unethical Acts",
    "Jailbreak",
)
"""In the order of the heads; the last is a request's alone."""
LABELS = (*RISKS, *CATEGORIES)
THOUGHTS = "<think>\n\n</think>\n\n"
"""The empty thoughts that Qwen3's chat template puts before a response."""


class _Ids(NamedTuple):
    tokens: list[int]
    start: int
    """Where the judged tokens begin; all from here to the end are a response."""
    is_response: bool


class Qwen3Guard(Struct, frozen=True, dict=True):
    """A stream guard over whole texts; its weights are read when they are first needed."""

    name: str
    device: str = "cpu"
    batch: int = 32
    tokens: int = 16_384

    def answer(self, call: Classify) -> Reply:
        """Return the probability of each risk level, and of each category at the same token."""
        contexts = call.contexts or ("",) * len(call.texts)
        with lock_of(self.device):
            encoded = [self._encoded(t, c) for t, c in zip(call.texts, contexts, strict=True)]
            rows: list[list[float]] = [[]] * len(encoded)
            lengths = [len(each.tokens) for each in encoded]
            for slots in batches(lengths, self.batch, self.tokens):
                part = [encoded[slot] for slot in slots]
                for slot, row in zip(slots, self._rows(part), strict=True):
                    rows[slot] = row
        return Vectors.of(rows, LABELS)

    @cached_property
    def _torch(self) -> Any:  # noqa: ANN401 - torch is optional, so it is unknown to the types
        return pretrained.torch_for(self.name)

    @cached_property
    def _tokenizer(self) -> Any:  # noqa: ANN401
        return pretrained.tokenizer(self.name)

    @cached_property
    def _parts(self) -> tuple[Any, Any]:
        """The body and the heads, with their weights."""
        config = pretrained.settings(self.name)
        transformers = pretrained.transformers_for(self.name)
        body = transformers.Qwen3Model(transformers.Qwen3Config.from_dict(config))
        heads = _heads(self._torch.nn, _norm(), config, self.name)
        weights = pretrained.weights(self.name, lambda key: key.split(".")[0] in {"model", *heads})
        inner = {k.removeprefix("model."): v for k, v in weights.items() if k[:6] == "model."}
        outer = {k: v for k, v in weights.items() if k[:6] != "model."}
        for module, state in ((body, inner), (heads, outer)):
            try:
                module.load_state_dict(state)
            except RuntimeError as error:
                first = str(error).strip().splitlines()[-1].strip()
                raise BackendError(f"model {self.name!r} cannot be loaded: {first}") from error
        kind = self._torch.float32 if self.device == "cpu" else self._torch.bfloat16
        return tuple(part.to(device=self.device, dtype=kind).eval() for part in (body, heads))

    def _encoded(self, text: str, context: str) -> _Ids:
        """Write the turns; marks within a text are read as letters, not as ends of a turn."""
        start = self._tokenizer.convert_tokens_to_ids("<|im_start|>")
        end = self._tokenizer.convert_tokens_to_ids("<|im_end|>")
        line = self._plain("\n")
        asked = [start, *self._plain(f"user\n{context or text}"), end]
        if not context:
            return self._within(_Ids([*asked, *line], len(asked) - 1, is_response=False))
        head = self._tokenizer(f"assistant\n{THOUGHTS}", add_special_tokens=False).input_ids
        before = [*asked, *line, start, *head]
        return self._within(
            _Ids([*before, *self._plain(text), end, *line], len(before), is_response=True)
        )

    def _within(self, ids: _Ids) -> _Ids:
        limit = self._parts[0].config.max_position_embeddings
        if len(ids.tokens) > limit:
            raise BackendError(
                f"model {self.name!r} reads {limit} tokens, the text has {len(ids.tokens)}; "
                "lower the guard's window"
            )
        return ids

    def _plain(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=True
        ).input_ids
        return found

    def _rows(self, part: Sequence[_Ids]) -> list[list[float]]:
        body, heads = self._parts
        longest = max(len(each.tokens) for each in part)
        pad = self._tokenizer.pad_token_id or 0
        rows = [[*each.tokens, *[pad] * (longest - len(each.tokens))] for each in part]
        real = [[1] * len(each.tokens) + [0] * (longest - len(each.tokens)) for each in part]
        made = self._torch.tensor
        with self._torch.inference_mode():
            hidden = body(
                input_ids=made(rows, device=self.device),
                attention_mask=made(real, device=self.device),
                use_cache=False,
            ).last_hidden_state
            return [
                _row(heads, hidden[number, each.start : len(each.tokens)], is_response=True)
                if each.is_response
                else _row(heads, hidden[number, each.start : each.start + 1], is_response=False)
                for number, each in enumerate(part)
            ]


def _row(heads: Any, hidden: Any, *, is_response: bool) -> list[float]:  # noqa: ANN401
    """Return the scores of one text from the hidden states of its judged tokens."""
    prefix = "" if is_response else "query_"
    inner = heads[f"{prefix}risk_level_category_layernorm"](
        heads[f"{prefix}risk_level_category_pre"](hidden)
    )
    risks = heads[f"{prefix}risk_level_head"](inner).float().softmax(-1)
    kinds = heads[f"{prefix}category_head"](inner).float().softmax(-1)
    unsafe, harm = risks[:, 1], 1.0 - risks[:, 0]
    if is_response and len(unsafe) > 1:
        unsafe, harm = unsafe[:-1].minimum(unsafe[1:]), harm[:-1].minimum(harm[1:])
    place = int(harm.argmax())
    strict, loose = float(harm[place]), float(unsafe.max())
    named = kinds[place].tolist()
    named += [0.0] * (len(CATEGORIES) - len(named))
    return [1.0 - strict, loose, max(strict - loose, 0.0), *named]


def _heads(nn: Any, norm: Any, config: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401
    sizes = {
        "": (config["num_risk_level"], config["num_category"]),
        "query_": (config["num_query_risk_level"], config["num_query_category"]),
    }
    if sizes != {"": (3, 8), "query_": (3, 9)}:
        raise BackendError(f"model {name!r} has other risk levels or categories than Qwen3Guard's")
    hidden, inner = config["hidden_size"], config["guard_inner_size"]
    made = {}
    for prefix, (risks, kinds) in sizes.items():
        made[f"{prefix}risk_level_category_pre"] = nn.Linear(hidden, inner, bias=False)
        made[f"{prefix}risk_level_category_layernorm"] = norm(inner, eps=config["rms_norm_eps"])
        made[f"{prefix}risk_level_head"] = nn.Linear(inner, risks, bias=False)
        made[f"{prefix}category_head"] = nn.Linear(inner, kinds, bias=False)
    return nn.ModuleDict(made)


def _norm() -> Any:  # noqa: ANN401
    module = cast("Any", require("Qwen3Guard", "transformers.models.qwen3.modeling_qwen3"))
    return module.Qwen3RMSNorm
