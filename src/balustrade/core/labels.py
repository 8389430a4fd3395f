"""What other models' labels mean in our words.

A label is compared in lower case, with hyphens for spaces and underscores. It is, in this order:

1. a hazard, by its MLCommons code, its title or our name for it;
2. what the words below say, those of OpenAI's moderation form among them: nothing at all if it
   says that all is well (`safe`, `benign`, ..., and `label-0` of two);
3. anything else is `harm`: a model that was made to flag has flagged something.
"""

from __future__ import annotations

from collections.abc import Sequence

from balustrade.core.taxonomy import (
    CODE_OF,
    HARM,
    HAZARDS,
    INJECTION,
    NAME_OF,
    RESPONSE_HARM,
    TOXICITY,
)

WORDS = {
    "": "safe benign normal neutral clean legit legitimate ok none negative harmless allowed pass "
    "non-toxic not-toxic nontoxic no-hate not-hate non-hate not-offensive non-offensive "
    "no-injection not-injection not-harmful unharmful",
    INJECTION: "injection jailbreak prompt-injection indirect-injection direct-injection attack "
    "malicious jailbreak-prompts",
    TOXICITY: "toxicity toxic severe-toxicity severe-toxic abuse abusive offensive insult obscene "
    "profanity identity-attack identity-hate threat harassment harassment/threatening",
    HARM: "harm harmful unsafe flagged dangerous",
    RESPONSE_HARM: "response-harm harmful-response",
    "hate": "hate hateful hate-speech hate/threatening",
    "sexual-content": "sexual sexual-explicit nsfw porn",
    "child-exploitation": "sexual/minors",
    "violent-crimes": "violence violence/graphic violent-crimes",
    "non-violent-crimes": "illicit illicit/violent",
    "self-harm": "self-harm self-harm/intent self-harm/instructions suicide",
    "privacy": "privacy pii",
    "specialised-advice": "specialized-advice",
}
TITLES = {hazard.title.lower().replace(" ", "-"): hazard.name for hazard in HAZARDS}
MEANING = TITLES | {label: name for name, labels in WORDS.items() for label in labels.split()}


def meanings(labels: Sequence[str]) -> tuple[str, ...]:
    """Return what each label of one model means, a taxonomy name or "" for nothing."""
    words = [label.strip().lower().replace("_", "-").replace(" ", "-") for label in labels]
    if words == ["label-0", "label-1"]:
        return ("", HARM)
    return tuple(map(_meaning, words))


def _meaning(word: str) -> str:
    code = word.upper().partition(":")[0]
    if code in NAME_OF:
        return NAME_OF[code]
    return word if word in CODE_OF else MEANING.get(word, HARM)
