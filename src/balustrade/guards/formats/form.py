"""What a format is: an exchange becomes a prompt, and an answer becomes findings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

from balustrade.core.content import Role


class Exchange(NamedTuple):
    """What is judged: a request, or the response that answers it."""

    request: str
    response: str | None = None


class Label(NamedTuple):
    """A word the model may answer with."""

    text: str
    harm: float
    """The share of its probability that speaks for harm."""


class Definition(NamedTuple):
    """What a model that judges by definitions is asked, in words of one's own."""

    category: str
    """What is reported."""
    text: str


class Choose(NamedTuple):
    """The model chooses a label."""

    lead: str
    """What its answer says before the label."""
    finds: str = ""
    """What is reported with the probability of harm; nothing if empty."""


class Say(NamedTuple):
    """The model says the rest of a line, if it last chose a label that speaks for harm."""

    lead: str
    otherwise: str = ""
    """What the line says if it did not."""
    names: bool = False
    """Whether the line names the categories of what was last found."""


Step: TypeAlias = Choose | Say


class Ask(NamedTuple):
    """One prompt, and the steps by which the model answers it."""

    prompt: str
    """As published, control tokens included."""
    steps: tuple[Step, ...]


@runtime_checkable
class Generative(Protocol):
    """The format of a model that writes its judgement."""

    @property
    def labels(self) -> tuple[Label, ...]:
        """The words it chooses among, at every choice."""
        ...

    @property
    def reports(self) -> frozenset[str]:
        """Every name it may report."""
        ...

    @property
    def risks(self) -> Mapping[str, str]:
        """The risks it can be asked about, by its own names; empty if it is asked about all."""
        ...

    def asks(
        self, exchange: Exchange, risks: Sequence[str], own: Sequence[Definition]
    ) -> tuple[Ask, ...]:
        """Return the prompts that judge an exchange, for some risks and criteria of one's own."""
        ...

    def named(self, line: str) -> tuple[str, ...]:
        """Return our names for the categories that a line names."""
        ...


@runtime_checkable
class Scored(Protocol):
    """The format of a model that gives each of its labels a score."""

    @property
    def reports(self) -> frozenset[str]:
        """Every name it may report."""
        ...

    @property
    def pairs(self) -> bool:
        """Whether the model is given the request apart from the response."""
        ...

    @property
    def apart(self) -> bool:
        """Whether each label has a probability of its own, whatever the model's files say."""
        ...

    def text(self, exchange: Exchange) -> str:
        """Return what is judged, where request and response are one text."""
        ...

    def findings(
        self, role: Role, labels: Sequence[str], scores: Sequence[float]
    ) -> dict[str, float]:
        """Return the score of each name, for content of this role.

        Raises:
            BackendError: The model has other labels than its format says.
        """
        ...


Format: TypeAlias = Generative | Scored

_CONTROL = re.compile(
    r"<(?=\|[^|<>\s]{1,40}\|>|/?s>|[be]os>|pad>|unk>|(?:start|end)_of_[a-z_]{1,40}>"
    r"|(?:BEGIN|END) [A-Z ]{1,40}>|/?(?:think|score|guardian)>)|\[(?=/?INST\])",
    re.IGNORECASE,
)


def defuse(text: str) -> str:
    """Part the marks by which a format quotes, so that a text cannot end its own quotation.

    `<|eot_id|>` becomes `< |eot_id|>`. The published formats do nothing of the kind: a text that
    holds their marks could answer for the model.
    """
    return _CONTROL.sub(lambda mark: mark.group() + " ", text)


@cache
def published(name: str) -> str:
    """Return the text of a file beside the formats, without its last line break."""
    text = (files("balustrade.guards.formats") / name).read_text("utf-8")
    return text.removesuffix("\n")
