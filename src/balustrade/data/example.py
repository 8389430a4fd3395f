"""One labelled row of the shared data format."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from msgspec import Struct


class Kind(StrEnum):
    """Which question the label answers; labels of different kinds are never pooled."""

    PROMPT = "prompt"
    RESPONSE = "response"
    INJECTION = "injection"
    WEB_ACTION = "web_action"
    TOXICITY = "toxicity"
    BENIGN = "benign"
    HARD_BENIGN = "hard_benign"
    PII = "pii"
    BIAS = "bias"


class Example(Struct, frozen=True):
    """A text, perhaps an answer to it, and what people said of it; unknown fields are ignored."""

    id: str
    text: str
    label: Literal["safe", "unsafe"]
    kind: Kind
    response: str = ""
    """The answer that the label is about; only where the kind is `response`."""
    categories: tuple[str, ...] = ()
    """The source's own labels."""
    hazards: tuple[str, ...] = ()
    """MLCommons codes S1 to S14, and S15 for injections; empty does not mean harmless."""
    lang: str = ""
    source: str = ""
    licence: str = ""
    context: str = ""
    """The instruction or task around an injection."""
    refusal: bool | str | None = None
    """Whether the answer refuses; some sources grade it in words."""
    condition: str = ""
    """The condition a question was asked under, where the source varies it."""
    pair: str | int | None = None
    """What joins this row to its counterpart."""

    @property
    def is_unsafe(self) -> bool:
        """Whether the label is `unsafe`."""
        return self.label == "unsafe"

    @property
    def judged(self) -> str:
        """The words the label is about: the answer where there is one, else the text."""
        return self.response if self.kind is Kind.RESPONSE else self.text
