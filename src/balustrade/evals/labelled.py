"""A guard that reports what any model scores, each label under our name for it."""

from __future__ import annotations

from collections.abc import Sequence

from balustrade.core.call import Flow, classify
from balustrade.core.content import Content, Role
from balustrade.core.guard import TEXT, Latency
from balustrade.core.labels import meanings
from balustrade.core.spec import Spec
from balustrade.core.verdict import Finding, Verdict


class Labelled(Spec, frozen=True):
    """Ask a model for its labels' scores, and report every one of them.

    An answer is given to the model with the request it answers, if `pairs` says that it reads
    pairs.

    Fails: where its model does not answer.
    """

    model: str
    name: str = "labelled"
    pairs: bool = True
    raw: frozenset[str] = frozenset()
    """Labels that keep their own name."""

    @property
    def judges(self) -> frozenset[str]:
        """Text alone."""
        return TEXT

    @property
    def latency(self) -> Latency:
        """That of a model."""
        return Latency.MODEL

    def check(self, batch: Sequence[Content], /) -> Flow[list[Verdict]]:
        """Report the scores of each content, one finding a label that means something."""
        asked = [self.pairs and c.role is Role.ASSISTANT and bool(c.request) for c in batch]
        verdicts: list[Verdict] = [Verdict(self.name)] * len(batch)
        for with_request in (False, True):
            slots = [slot for slot, answers in enumerate(asked) if answers is with_request]
            if slots:
                part = [batch[slot] for slot in slots]
                found = yield from self._ask(part, with_request=with_request)
                for slot, verdict in zip(slots, found, strict=True):
                    verdicts[slot] = verdict
        return verdicts

    def _ask(self, part: Sequence[Content], *, with_request: bool) -> Flow[list[Verdict]]:
        contexts = [content.request for content in part] if with_request else ()
        reply = yield from classify(self.model, [content.text for content in part], contexts)
        names = [
            label if label in self.raw else name
            for label, name in zip(reply.labels, meanings(reply.labels), strict=True)
        ]
        return [Verdict(self.name, _findings(names, row)) for row in reply.rows()]


def _findings(names: Sequence[str], scores: Sequence[float]) -> tuple[Finding, ...]:
    """Return the highest score of each name, in the order of the labels."""
    best: dict[str, float] = {}
    for name, score in zip(names, scores, strict=True):
        if name:
            best[name] = max(best.get(name, 0.0), min(max(score, 0.0), 1.0))
    return tuple(Finding(name, score) for name, score in best.items())
