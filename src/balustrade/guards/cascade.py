"""Several guards as one: the cheap first, the dear only on what is still open."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Annotated, Literal

from msgspec import Meta
from msgspec.structs import replace

from balustrade.core.call import Flow
from balustrade.core.content import Content
from balustrade.core.errors import GuardError
from balustrade.core.guard import Calibrated, Guard, Latency
from balustrade.core.spec import Count, Probability, Spec
from balustrade.core.verdict import Finding, Verdict
from balustrade.flow.gather import gather
from balustrade.flow.isolate import isolate
from balustrade.guards.foreign import safe_check

Combine = Literal["any_of", "all_of", "vote"]


class Cascade(Spec, frozen=True):
    """Ask guards one latency class after the other, each only where the outcome is open.

    A guard *objects* to a content if its strongest finding scores at least `sure`, *passes* it if
    that is below `clear`, and is *unsure* in between.

    - `any_of`: one objection settles it, and so does a guard that passes it where `clear` is set.
      Findings are those of all guards that were asked.
    - `all_of`: one guard that does not object settles it, with no findings. If all object, theirs
      are reported, each with a score no higher than the least sure guard's strongest.
    - `vote`: settled once `quorum` guards object, or no longer can. If they do, the findings of
      those who object are reported; if not, none are.

    The order of guards in one class makes no difference to the outcome.

    Fails: if a guard that was asked fails, unless the others settle it without that guard.
    """

    guards: Annotated[tuple[Guard, ...], Meta(min_length=1)]
    """The members; those of one latency class are asked at once."""

    combine: Combine = "any_of"
    sure: Probability = 0.5
    """From this score on a finding is an objection."""

    clear: Probability = 0.0
    """Below this score a pass by all of one class settles `any_of`; at 0 only an objection does."""

    quorum: Count | None = None
    """How many must object in `vote`; more than half if absent."""

    name: str = "cascade"

    def __post_init__(self) -> None:
        if self.clear > self.sure:
            raise ValueError(f"expected clear <= sure, found {self.clear:g} > {self.sure:g}")
        if self.quorum is not None and self.quorum > len(self.guards):
            raise ValueError(
                f"expected a quorum of at most {len(self.guards)} guards, found {self.quorum}"
            )

    @property
    def judges(self) -> frozenset[str]:
        """What every member judges; where one member suffices, what any of them does."""
        kinds = [guard.judges for guard in self.guards]
        if self.combine == "any_of" and not self.clear:
            return frozenset[str]().union(*kinds)
        return kinds[0].intersection(*kinds)

    @property
    def latency(self) -> Latency:
        """That of the slowest member."""
        return max(guard.latency for guard in self.guards)

    def threshold_for(self, category: str, false_alarms: float) -> float | None:
        """Return from which score on at most this share of harmless texts is flagged.

        Each calibrated member gets an equal part of the share, so that together they keep it
        however their alarms fall (the union bound). None if no member is calibrated.
        """
        members = [guard for guard in self.guards if isinstance(guard, Calibrated)]
        able = [
            guard for guard in members if guard.threshold_for(category, false_alarms) is not None
        ]
        limits = [guard.threshold_for(category, false_alarms / len(able)) for guard in able]
        return max((limit for limit in limits if limit is not None), default=None)

    def check(self, batch: Sequence[Content], /) -> Flow[list[Verdict]]:
        """Judge each content by as few guards as settle it."""
        asked: list[list[Verdict]] = [[] for _ in batch]
        open_ = list(range(len(batch)))
        for tier in self._tiers():
            if not open_:
                break
            contents = [batch[slot] for slot in open_]
            columns = yield from gather([isolate(safe_check(guard), contents) for guard in tier])
            for guard, column in zip(tier, columns, strict=True):
                answers = column if isinstance(column, list) else [column] * len(open_)
                for slot, answer in zip(open_, answers, strict=True):
                    asked[slot].append(_verdict(guard, answer))
            open_ = [slot for slot in open_ if not self._is_settled(asked[slot])]
        return [self._combined(verdicts) for verdicts in asked]

    def _tiers(self) -> list[list[Guard]]:
        by_latency = sorted(self.guards, key=lambda guard: guard.latency)
        return [list(tier) for _, tier in groupby(by_latency, key=lambda guard: guard.latency)]

    @property
    def _needed(self) -> int:
        match self.combine:
            case "any_of":
                return 1
            case "all_of":
                return len(self.guards)
            case "vote":
                return self.quorum or len(self.guards) // 2 + 1

    def _is_settled(self, verdicts: Sequence[Verdict]) -> bool:
        objections = sum(map(self._objects, verdicts))
        if self.combine == "any_of":
            passes = all(not v.error and strongest(v) < self.clear for v in verdicts)
            return objections > 0 or (self.clear > 0 and passes)
        passes_count = sum(1 for v in verdicts if not v.error and not self._objects(v))
        reached = self.combine == "vote" and objections >= self._needed
        return reached or len(self.guards) - passes_count < self._needed

    def _objects(self, verdict: Verdict) -> bool:
        return bool(verdict.findings) and strongest(verdict) >= self.sure

    def _combined(self, verdicts: Sequence[Verdict]) -> Verdict:
        objections = [verdict for verdict in verdicts if self._objects(verdict)]
        settled = self._is_settled(verdicts)
        error = "" if settled else "; ".join(f"{v.guard}: {v.error}" for v in verdicts if v.error)
        if self.combine == "any_of":
            return Verdict(self.name, _union(verdicts), error)
        if error or len(objections) < self._needed:
            return Verdict(self.name, (), error)
        least = min(map(strongest, objections)) if self.combine == "all_of" else 1.0
        return Verdict(self.name, tuple(_capped(f, least) for f in _union(objections)))


def strongest(verdict: Verdict) -> float:
    """Return the score of the strongest finding, 0 if there is none."""
    return max((finding.score for finding in verdict.findings), default=0.0)


def _union(verdicts: Sequence[Verdict]) -> tuple[Finding, ...]:
    """Return the findings of all, each once."""
    return tuple(dict.fromkeys(f for verdict in verdicts for f in verdict.findings))


def _capped(finding: Finding, most: float) -> Finding:
    return finding if finding.score <= most else replace(finding, score=most)


def _verdict(guard: Guard, answer: Verdict | GuardError) -> Verdict:
    if isinstance(answer, Verdict):
        return answer
    return Verdict(guard.name, error=str(answer) or "failed")
