"""What a policy file holds: stages with guards and rules, and what surrounds them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from balustrade.core.content import Stage
from balustrade.core.digest import digest
from balustrade.core.spec import Positive, Spec
from balustrade.policy.model import ActionName, OnError, Policy, Redaction, Rule
from balustrade.policy.route import RouteSpec

VERSION = 1
StageName = Literal["input", "retrieval", "tool", "output"]
REFUSAL = "I'm sorry, but I can't help with that."
"""A phrase that refusal detectors of common test tools recognise."""


class Audit(Spec, frozen=True):
    """What is kept of each decision, and how surely."""

    durable: bool = True
    """Whether a decision must be in the log before its response leaves; if it cannot be written,
    the request is refused."""

    survives: Literal["process", "power"] = "process"
    """What an acknowledged decision survives: the process's death, or loss of power (fsync)."""

    keep: Literal["digest", "masked", "full"] = "masked"
    """What is stored of the content."""


class Refuse(Spec, frozen=True):
    """How a refused request ends."""

    form: Literal["refusal", "error"] = "refusal"
    """A completion with `finish_reason: content_filter`, or HTTP 400 in OpenAI's error shape."""

    message: str = REFUSAL


class Streaming(Spec, frozen=True):
    """How a streamed answer is judged while it grows."""

    every: Literal["chunk", "word", "sentence"] = "word"
    """How often guards of whole texts are asked again: at each word's end (`chunk`), at word ends
    ever further apart, up to 24 words (`word`), or at each sentence's end. Guards of nearby text
    judge each chunk."""

    hold: Annotated[int, Meta(ge=0, le=10_000)] = 0
    """Characters held back beyond what an open match needs."""

    window: Annotated[int, Meta(ge=64, le=100_000)] = 2000
    """How many of the last characters guards that judge whole texts see."""


class Regeneration(Spec, frozen=True):
    """How an answer is asked for again where a rule says `regenerate`.

    What was sent is never taken back: what is written anew is what was not sent yet.
    """

    rounds: Annotated[int, Meta(ge=1, le=5)] = 3
    """Drafts in all, the first included; then the request is refused."""

    buffer: Literal["whole", "sentence"] = "whole"
    """What of a streamed answer is held until it has passed. By the sentence, those that were sent
    stay, and the model is asked to go on from them."""


class Case(Spec, frozen=True):
    """A test the author wrote into the policy; `balustrade policy test` runs it."""

    text: str
    expect: ActionName
    stage: StageName = "input"


class StageSpec(Spec, frozen=True):
    """Guards and rules of one stage; what is absent is taken from the document."""

    guards: tuple[dict[str, Any], ...] = ()
    """Each names its kind with `use`; the other keys are that guard's fields."""

    rules: tuple[Rule, ...] = ()
    on_error: OnError | None = None
    on_unjudged: ActionName | None = None
    demands: frozenset[Literal["text", "image", "video", "tool_call", "table"]] | None = None
    timeout: Positive | None = None
    redaction: Redaction | None = None


class Stages(Spec, frozen=True):
    """What is done at each stage; one that is absent has no guards."""

    input: StageSpec = StageSpec()
    retrieval: StageSpec = StageSpec()
    tool: StageSpec = StageSpec()
    output: StageSpec = StageSpec()
    route: RouteSpec | None = None
    """How a request that passed is answered: freely, carefully, or not at all."""

    def at(self, stage: Stage) -> StageSpec:
        """Return the guards and rules of a stage."""
        spec: StageSpec = getattr(self, stage.value)
        return spec


class Document(Spec, frozen=True):
    """A whole policy file."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    version: Literal[1] = 1
    description: str = ""
    stage: Stages = Stages()
    on_error: OnError = OnError.BLOCK
    on_unjudged: ActionName = "block"
    demands: frozenset[Literal["text", "image", "video", "tool_call", "table"]] = frozenset()
    timeout: Positive = 10.0
    redaction: Redaction = "mask"
    image_hosts: tuple[str, ...] = ()
    """Hosts from which images may be fetched; none by default."""

    trust_system: bool = True
    """Whether system and developer messages come from the application, so that no one judges
    them; if not, the input rail does."""

    audit: Audit = Audit()
    refuse: Refuse = Refuse()
    stream: Streaming = Streaming()
    regeneration: Regeneration = Regeneration()
    tests: tuple[Case, ...] = ()

    @property
    def revision(self) -> str:
        """Digest of what the policy means: equal if and only if it decides alike."""
        meaning = msgspec.to_builtins(self, order="deterministic")
        for key in ("tests", "description"):
            del meaning[key]
        for stage in Stage:
            own = meaning["stage"][stage.value]
            own["rules"] = sorted(own["rules"], key=digest)
            own["guards"] = sorted(own["guards"], key=digest)
        return digest(meaning)[:16]

    def policy(self, stage: Stage, rules: tuple[Rule, ...] | None = None) -> Policy:
        """Return the rules of one stage, with what it leaves open filled in."""
        own = self.stage.at(stage)
        return Policy(
            name=self.name,
            rules=own.rules if rules is None else rules,
            on_error=self.on_error if own.on_error is None else own.on_error,
            on_unjudged=self.on_unjudged if own.on_unjudged is None else own.on_unjudged,
            demands=frozenset(self.demands if own.demands is None else own.demands),
            redaction=self.redaction if own.redaction is None else own.redaction,
            timeout=self.timeout if own.timeout is None else own.timeout,
            revision=self.revision,
        )
