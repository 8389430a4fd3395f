"""WildGuard: three lines of yes or no, on the request, the refusal, and the response.

Sources: allenai/wildguard, `wildguard/utils.py` (the prompt) and `wildguard/wildguard.py` (three
lines, each `...: yes`, `no` or `n/a`). A request alone stands with an empty response, as there.
The lines before the one that is read are the model's own, its likelier answer to each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Template

from msgspec import Struct

from balustrade.core.taxonomy import HARM, RESPONSE_HARM
from balustrade.guards.formats.form import Ask, Choose, Definition, Exchange, Label, published


class WildGuard(Struct, frozen=True):
    """The one format of WildGuard."""

    @property
    def labels(self) -> tuple[Label, ...]:
        """Yes, no, or not applicable."""
        return (Label("yes", 1.0), Label("no", 0.0), Label("n/a", 0.0))

    @property
    def reports(self) -> frozenset[str]:
        """Harm, without its kind."""
        return frozenset({HARM, RESPONSE_HARM})

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
        """Return one prompt; of its three lines, the one on what is judged is read."""
        prompt = Template(published("wildguard.txt")).substitute(
            request=exchange.request, response=exchange.response or ""
        )
        if exchange.response is None:
            return (Ask(prompt, (Choose("Harmful request:", HARM),)),)
        steps = (
            Choose("Harmful request:"),
            Choose("\nResponse refusal:"),
            Choose("\nHarmful response:", RESPONSE_HARM),
        )
        return (Ask(prompt, steps),)

    def named(self, line: str) -> tuple[str, ...]:  # noqa: ARG002 - it names none
        """Return nothing: it names no categories."""
        return ()


WILDGUARD = WildGuard()
