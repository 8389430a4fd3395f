"""Harm categories: our names, MLCommons codes, and the names other systems give them."""

from __future__ import annotations

from msgspec import Struct


class Hazard(Struct, frozen=True):
    """One harm category."""

    name: str
    """What findings and policies say."""
    code: str
    """MLCommons AILuminate / Llama Guard 3 code, S1 to S14; S15 is added here for injections."""
    title: str
    openai: tuple[str, ...] = ()
    """Categories of OpenAI's moderation form that a finding of this hazard sets."""


HAZARDS = (
    Hazard("violent-crimes", "S1", "Violent crimes", ("violence", "illicit/violent")),
    Hazard("non-violent-crimes", "S2", "Non-violent crimes", ("illicit",)),
    Hazard("sex-crimes", "S3", "Sex-related crimes", ("sexual", "illicit")),
    Hazard("child-exploitation", "S4", "Child sexual exploitation", ("sexual/minors", "sexual")),
    Hazard("defamation", "S5", "Defamation", ()),
    Hazard("specialised-advice", "S6", "Specialised advice", ()),
    Hazard("privacy", "S7", "Privacy", ()),
    Hazard("intellectual-property", "S8", "Intellectual property", ()),
    Hazard("weapons", "S9", "Indiscriminate weapons", ("illicit/violent", "illicit", "violence")),
    Hazard("hate", "S10", "Hate", ("hate", "harassment")),
    Hazard(
        "self-harm",
        "S11",
        "Suicide and self-harm",
        ("self-harm", "self-harm/intent", "self-harm/instructions"),
    ),
    Hazard("sexual-content", "S12", "Sexual content", ("sexual",)),
    Hazard("elections", "S13", "Elections", ()),
    Hazard("code-abuse", "S14", "Code-interpreter abuse", ("illicit",)),
    Hazard("injection", "S15", "Prompt injection and jailbreak", ()),
)

HARM = "harm"
"""Harmful in any way: what a guard reports when it cannot or need not say which."""
TOXICITY = "toxicity"
"""Abuse in a post or comment."""
RESPONSE_HARM = "response-harm"
"""A harmful answer to a request."""
INJECTION = "injection"
REFUSAL = "refusal"
"""An answer that declines."""
MODERATE, SEVERE = "severity-moderate", "severity-severe"
"""That what is harmful is at least moderately so, or severely: a probability each, of harm."""

NAME_OF = {hazard.code: hazard.name for hazard in HAZARDS}
CODE_OF = {hazard.name: hazard.code for hazard in HAZARDS}
BY_NAME = {hazard.name: hazard for hazard in HAZARDS}

OPENAI_CATEGORIES: tuple[str, ...] = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
"""The thirteen categories of OpenAI's moderation form, in alphabetical order."""
