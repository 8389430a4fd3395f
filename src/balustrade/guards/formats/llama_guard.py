r"""Llama Guard 1 to 4: a task, a list of categories, a conversation; `safe`, or `unsafe` and codes.

Sources: llama-recipes, `src/llama_recipes/inference/prompt_format_utils.py` (the task, the
conversation, the categories of 1 and 2 with their policies, the names of 3); PurpleLlama,
`Llama-Guard3/8B/MODEL_CARD.md` and `Llama-Guard3/1B/MODEL_CARD.md` (14 and 13 categories; the
score is the first token's probability) and `Llama-Guard3/11B-vision/MODEL_CARD.md`;
huggingface-llama-recipes, `llama_guard/llama-guard-4.ipynb` (the prompt of 4 as transformers prints
it, and that the model breaks the line twice before its answer).

Where the sources differ: 3 opens its turn by two line breaks, as Meta's documentation shows, where
the recipes have a blank. The template of 4 prints `\n\n` as letters after a message, which we
write as the line breaks they were meant to be. What the models break off first, two line breaks
after the header of an answer, is given, so that the very next token is the verdict. The vision
model is given text alone, so without its `<|image|>`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from string import Template

from msgspec import Struct

from balustrade.core.taxonomy import HARM, NAME_OF, RESPONSE_HARM
from balustrade.guards.formats.form import Ask, Choose, Definition, Exchange, Label, Say, published

LABELS = (Label("safe", 0.0), Label("unsafe", 1.0))

OLDEST = {
    "O1": ("violent-crimes", "hate"),
    "O2": ("sexual-content",),
    "O3": ("non-violent-crimes",),
    "O4": ("weapons",),
    "O5": ("non-violent-crimes",),
    "O6": ("self-harm",),
}
OLDER = {
    "S1": ("violent-crimes",),
    "S2": ("non-violent-crimes",),
    "S3": ("sex-crimes",),
    "S4": ("child-exploitation",),
    "S5": ("specialised-advice",),
    "S6": ("privacy",),
    "S7": ("intellectual-property",),
    "S8": ("weapons",),
    "S9": ("hate",),
    "S10": ("self-harm",),
    "S11": ("sexual-content",),
}
CODES = {code: (name,) for code, name in NAME_OF.items() if code != "S15"}
"""The codes of MLCommons, which Llama Guard 3 and 4 and others use: S1 to S14."""


class LlamaGuard(Struct, frozen=True):
    """One generation of Llama Guard."""

    head: str
    """What stands before the task."""
    tail: str
    """What stands after the instructions."""
    lead: str
    """What the model writes before its verdict."""
    categories: str
    """The file that holds the list of categories."""
    codes: Mapping[str, tuple[str, ...]]
    """Our names for its codes."""
    first: int = 0
    """How many categories of the file it knows; 0 for all."""
    to: str = ""
    """Whether the policy is one "according to" which it judges."""
    gap: str = "\n"
    """What stands between the opening of the conversation and the first message."""
    last: bool = True
    """Whether only the last message is judged."""

    @property
    def labels(self) -> tuple[Label, ...]:
        """Safe and unsafe."""
        return LABELS

    @property
    def reports(self) -> frozenset[str]:
        """Harm, and what its codes stand for."""
        return frozenset({HARM, RESPONSE_HARM}.union(*self.codes.values()))

    @property
    def risks(self) -> Mapping[str, str]:
        """None: it judges by its whole list at once."""
        return {}

    def asks(
        self,
        exchange: Exchange,
        risks: Sequence[str],  # noqa: ARG002 - it has none
        own: Sequence[Definition],  # noqa: ARG002
    ) -> tuple[Ask, ...]:
        """Return one prompt: the message of the user, or that of the agent after it."""
        role, turns = "User", f"User: {exchange.request}"
        if exchange.response is not None:
            role, turns = "Agent", f"{turns}\n\nAgent: {exchange.response}"
        listed = published(self.categories).split("\n")
        task = Template(published("llama_guard.txt")).substitute(
            role=role,
            to=self.to,
            categories="\n".join(listed[: self.first or None]),
            gap=self.gap,
            conversation=turns,
            which=f"ONLY THE LAST {role} message" if self.last else role,
            indent=" " if self.last else "",
        )
        finds = HARM if exchange.response is None else RESPONSE_HARM
        steps = (Choose(self.lead, finds), Say("\n", names=True))
        return (Ask(f"{self.head}{task}{self.tail}", steps),)

    def named(self, line: str) -> tuple[str, ...]:
        """Return our names for the codes in a line such as `S1,S9`."""
        return named_by_code(line, self.codes)


def named_by_code(line: str, codes: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return our names for the codes that a line lists, each once, in its order."""
    found = [name for code in re.findall(r"[OS]\d{1,2}", line) for name in codes.get(code, ())]
    return tuple(dict.fromkeys(found))


LLAMA_GUARD_1 = LlamaGuard("[INST] ", " [/INST]", "", "llama_guard_1.txt", OLDEST, last=False)
LLAMA_GUARD_2 = LlamaGuard("[INST] ", " [/INST]", "", "llama_guard_2.txt", OLDER)
LLAMA_GUARD_3 = LlamaGuard(
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
    "<|eot_id|><|start_header_id|>assistant<|end_header_id|>",
    "\n\n",
    "llama_guard_3.txt",
    CODES,
)
LLAMA_GUARD_3_1B = LlamaGuard(
    LLAMA_GUARD_3.head, LLAMA_GUARD_3.tail, "\n\n", "llama_guard_3.txt", CODES, first=13
)
LLAMA_GUARD_3_VISION = LlamaGuard(
    LLAMA_GUARD_3.head, LLAMA_GUARD_3.tail, "\n\n", "llama_guard_3.txt", CODES, first=13, to="to "
)
LLAMA_GUARD_4 = LlamaGuard(
    "<|begin_of_text|><|header_start|>user<|header_end|>\n\n",
    " <|eot|><|header_start|>assistant<|header_end|>",
    "\n\n",
    "llama_guard_3.txt",
    CODES,
    to="to ",
    gap="",
)
