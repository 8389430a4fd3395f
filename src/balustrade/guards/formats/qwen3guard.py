"""Qwen3Guard: safe, controversial or unsafe, and in which of nine categories.

Sources: QwenLM/Qwen3Guard, `README.md` (the answer's lines and words) and `eval/eval_stream.py`
(the labels of the stream model's heads; a controversial text is unsafe when read strictly, safe
when read loosely); modelscope/ms-swift, `swift/template/templates/qwen.py` (the chat template for a
request, and the empty thoughts before an answer). The template for a response is written from a
public port of the model, as neither repository holds it.

Whether the response is a refusal stands on the third line and is not asked for: a refusal is no
harm, and its line follows what is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Template

from msgspec import Struct

from balustrade.core.content import Role
from balustrade.core.errors import BackendError
from balustrade.core.taxonomy import HARM, INJECTION, RESPONSE_HARM
from balustrade.guards.formats.form import Ask, Choose, Definition, Exchange, Label, Say, published

CATEGORIES = {
    "violent": "violent-crimes",
    "non-violent illegal acts": "non-violent-crimes",
    "sexual content or sexual acts": "sexual-content",
    "pii": "privacy",
    "suicide & self-harm": "self-harm",
    "unethical acts": "hate",
    "politically sensitive topics": "elections",
    "copyright violation": "intellectual-property",
    "jailbreak": INJECTION,
}
"""Our names for its categories. Bias, discrimination, hate and insults are among its unethical
acts; false information on politics, of which elections are part, among the sensitive topics."""

REPORTS = frozenset({HARM, RESPONSE_HARM, *CATEGORIES.values()})


class Qwen3Guard(Struct, frozen=True):
    """The generative model."""

    controversial: float = 1.0
    """The share of "controversial" that speaks for harm: all of it, or none if read loosely."""

    @property
    def labels(self) -> tuple[Label, ...]:
        """Safe, unsafe, and controversial."""
        return (
            Label("Safe", 0.0),
            Label("Unsafe", 1.0),
            Label("Controversial", self.controversial),
        )

    @property
    def reports(self) -> frozenset[str]:
        """Harm, and what its categories stand for."""
        return REPORTS

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
        """Return one prompt: the query of the user, or the response of the assistant."""
        part = "request" if exchange.response is None else "response"
        task = Template(published(f"qwen3guard_{part}.txt")).substitute(
            request=exchange.request, response=exchange.response or ""
        )
        prompt = (
            f"<|im_start|>user\n{task}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
        )
        finds = HARM if exchange.response is None else RESPONSE_HARM
        return (Ask(prompt, (Choose("Safety:", finds), Say("\nCategories:", names=True))),)

    def named(self, line: str) -> tuple[str, ...]:
        """Return our names for a comma-separated list of categories."""
        names = (CATEGORIES.get(word.strip().lower()) for word in line.split(","))
        return tuple(dict.fromkeys(filter(None, names)))


class Qwen3GuardStream(Struct, frozen=True):
    """The stream model, given a whole text at once."""

    @property
    def reports(self) -> frozenset[str]:
        """Harm, and what its categories stand for."""
        return REPORTS

    @property
    def pairs(self) -> bool:
        """The request is a turn of its own."""
        return True

    @property
    def apart(self) -> bool:
        """Its heads are made so."""
        return False

    def text(self, exchange: Exchange) -> str:
        """Return what is judged: the response, or the request where there is none."""
        return exchange.request if exchange.response is None else exchange.response

    def findings(
        self, role: Role, labels: Sequence[str], scores: Sequence[float]
    ) -> dict[str, float]:
        """Return harm, read strictly, and each category's share of it."""
        row = dict(zip((label.lower() for label in labels), scores, strict=True))
        if not {"unsafe", "controversial", "violent"} <= row.keys():
            raise BackendError(f"expected the labels of Qwen3Guard-Stream, found {list(labels)}")
        harm = min(row["unsafe"] + row["controversial"], 1.0)
        found = {RESPONSE_HARM if role is Role.ASSISTANT else HARM: harm}
        for label, name in CATEGORIES.items():
            if label in row:
                found[name] = harm * row[label]
        return found


QWEN3GUARD = Qwen3Guard()
QWEN3GUARD_LOOSE = Qwen3Guard(controversial=0.0)
QWEN3GUARD_STREAM = Qwen3GuardStream()
