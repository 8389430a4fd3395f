"""PolyGuard: five lines, on the request, its categories, the refusal, the response, its categories.

Source: kpriyanshu256/polyguard, `inference.py` (both prompts, and how the lines are read). They go
through the chat template of Qwen2.5, on which `PolyGuard-Qwen` and `PolyGuard-Qwen-Smol` are built;
`PolyGuard-Ministral` has another, which is not here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from balustrade.core.taxonomy import HARM, RESPONSE_HARM
from balustrade.guards.formats.form import Ask, Choose, Definition, Exchange, Label, Say, published
from balustrade.guards.formats.llama_guard import CODES, named_by_code


class PolyGuard(Struct, frozen=True):
    """The format of PolyGuard on Qwen2.5."""

    @property
    def labels(self) -> tuple[Label, ...]:
        """Yes or no."""
        return (Label("yes", 1.0), Label("no", 0.0))

    @property
    def reports(self) -> frozenset[str]:
        """Harm, and what its codes stand for."""
        return frozenset({HARM, RESPONSE_HARM}.union(*CODES.values()))

    @property
    def risks(self) -> Mapping[str, str]:
        """None."""
        return {}

    def asks(
        self,
        exchange: Exchange,
        risks: Sequence[str],  # noqa: ARG002 - it has none
        own: Sequence[Definition],  # noqa: ARG002
    ) -> tuple[Ask, ...]:
        """Return one prompt; a request alone stands with an empty response, as published."""
        prompt = (
            f"<|im_start|>system\n{published('polyguard.txt')}<|im_end|>\n"
            f"<|im_start|>user\nHuman user:\n{exchange.request}\n\n"
            f"AI assistant:\n{exchange.response or ''}<|im_end|>\n<|im_start|>assistant\n"
        )
        if exchange.response is None:
            request = (
                Choose("Harmful request:", HARM),
                Say("\nRequest safety violations:", " None", names=True),
            )
            return (Ask(prompt, request),)
        steps = (
            Choose("Harmful request:"),
            Say("\nRequest safety violations:", " None"),
            Choose("\nResponse refusal:"),
            Choose("\nHarmful response:", RESPONSE_HARM),
            Say("\nResponse safety violations:", " None", names=True),
        )
        return (Ask(prompt, steps),)

    def named(self, line: str) -> tuple[str, ...]:
        """Return our names for the codes in a line."""
        return named_by_code(line, CODES)


POLYGUARD = PolyGuard()
