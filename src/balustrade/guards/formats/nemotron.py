"""NemoGuard and Nemotron content safety (Aegis 2): a JSON object of ratings and categories.

Sources: NVIDIA-NeMo/Guardrails, the prompts in its guide to content safety with Nemotron (task, 23
categories, conversation, output format), and `nemoguardrails/llm/output_parsers.py` (the keys of
the object). The models are tuned from Llama
3.1 8B Instruct, so the text stands in one user turn of its chat format; the system message with
the date of the day that the base model's template puts before it is left out, so that the same
text is judged alike on any day. "Needs Caution" and "Other" are reported as harm alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Template

from msgspec import Struct

from balustrade.core.taxonomy import HARM, RESPONSE_HARM, TOXICITY
from balustrade.guards.formats.form import Ask, Choose, Definition, Exchange, Label, Say, published
from balustrade.guards.formats.llama_guard import LABELS, LLAMA_GUARD_3

CATEGORIES = {
    "violence": "violent-crimes",
    "sexual": "sexual-content",
    "criminal planning/confessions": "non-violent-crimes",
    "guns and illegal weapons": "weapons",
    "controlled/regulated substances": "non-violent-crimes",
    "suicide and self harm": "self-harm",
    "sexual (minor)": "child-exploitation",
    "hate/identity hate": "hate",
    "pii/privacy": "privacy",
    "harassment": TOXICITY,
    "threat": TOXICITY,
    "profanity": TOXICITY,
    "manipulation": "non-violent-crimes",
    "fraud/deception": "non-violent-crimes",
    "malware": "non-violent-crimes",
    "political/misinformation/conspiracy": "elections",
    "copyright/trademark/plagiarism": "intellectual-property",
    "unauthorized advice": "specialised-advice",
    "illegal activity": "non-violent-crimes",
}


class Nemotron(Struct, frozen=True):
    """The one format of the family."""

    @property
    def labels(self) -> tuple[Label, ...]:
        """Safe and unsafe."""
        return LABELS

    @property
    def reports(self) -> frozenset[str]:
        """Harm, and what its categories stand for."""
        return frozenset({HARM, RESPONSE_HARM, *CATEGORIES.values()})

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
        """Return one prompt; the rating of a response is read after that of its request."""
        turns = f"user: {exchange.request}"
        if exchange.response is not None:
            turns = f"{turns}\n\nresponse: agent: {exchange.response}"
        task = Template(published("nemotron.txt")).substitute(conversation=turns)
        prompt = f"{LLAMA_GUARD_3.head}{task}{LLAMA_GUARD_3.tail}\n\n"
        rest = Say('", "Safety Categories": "', names=True)
        if exchange.response is None:
            return (Ask(prompt, (Choose('{"User Safety": "', HARM), rest)),)
        steps = (
            Choose('{"User Safety": "'),
            Choose('", "Response Safety": "', RESPONSE_HARM),
            rest,
        )
        return (Ask(prompt, steps),)

    def named(self, line: str) -> tuple[str, ...]:
        """Return our names for a comma-separated list of categories."""
        listed = line.partition('"')[0].split(",")
        names = (CATEGORIES.get(word.strip().lower()) for word in listed)
        return tuple(dict.fromkeys(filter(None, names)))


NEMOTRON = Nemotron()
