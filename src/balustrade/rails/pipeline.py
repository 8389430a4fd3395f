"""The stages around one model call: what goes to the model, and what comes back from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from msgspec import Struct
from msgspec.structs import replace

from balustrade.core.call import Flow
from balustrade.core.content import Content, Part, Role, Stage, last_asked, words
from balustrade.core.decision import Action, Decision
from balustrade.core.errors import GuardError
from balustrade.flow.gather import gather
from balustrade.policy.vault import Vault
from balustrade.rails.build import Rails
from balustrade.rails.memory import Known, Memory, keys, whole
from balustrade.rails.stream import Stream
from balustrade.rails.turns import REACH, Judged, Turn, answer_turns, new_from, turns


class Change(Struct, frozen=True):
    """A part that may not go on as it came, and what goes in its place."""

    message: int
    number: int
    part: Part


class Outcome(Struct, frozen=True):
    """What was decided about a request, or about one answer."""

    judged: tuple[Judged, ...] = ()
    """The decisions that are news: what was remembered of older messages is not among them,
    unless it stops the request."""

    changes: tuple[Change, ...] = ()

    @property
    def gravest(self) -> Decision | None:
        """The decision that counts: the gravest, the first of those that are equally so."""
        return max((j.decision for j in self.judged), key=lambda d: d.action, default=None)

    @property
    def stops(self) -> bool:
        """Whether nothing may go on."""
        return any(judged.decision.action.stops for judged in self.judged)


class Pipeline:
    """Judge a conversation on its way to a model, and its answers on the way back.

    The new turn is always judged. Older messages are judged too, but once: their verdicts are
    remembered, so a long conversation costs no more than a short one. What a model calls, or is
    told by tools, passes the tool or the retrieval rail wherever it stands.

    Knows no request: what is masked for one lies in the vault that the caller gives.

    `regenerate` stops here like `block`: whoever asks the model again does so where it reads the
    outcome of `answers` (`rails/regenerate.py`).

    Args:
        rails: One rail for each stage.
        memory: Where verdicts on older messages are kept, for these rails alone.
    """

    def __init__(self, rails: Rails, memory: Memory | None = None) -> None:
        self.rails = rails
        self._memory = Memory() if memory is None else memory
        self._trusted = frozenset({Role.SYSTEM} if rails.document.trust_system else ())

    @cached_property
    def stream(self) -> Stream:
        """The output rail for answers that are still being written."""
        return Stream(self.rails.output, self.rails.document.stream)

    @cached_property
    def sentences(self) -> Stream:
        """The same for answers that leave by the sentence: judged at each one's end."""
        settings = replace(self.rails.document.stream, every="sentence", hold=0)
        return Stream(self.rails.output, settings)

    @cached_property
    def regenerates(self) -> bool:
        """Whether some rule may ask for an answer again, so that none may leave before its end."""
        return any(
            rule.effect is Action.REGENERATE
            for stage in (Stage.OUTPUT, Stage.TOOL)
            for rule in self.rails.at(stage).policy.rules
        )

    @cached_property
    def timeout(self) -> float:
        """Seconds that a round of calls may take, at the stage that allows the most."""
        return max(self.rails.at(stage).policy.timeout for stage in Stage)

    def request(self, messages: Sequence[Content], vault: Vault) -> Flow[Outcome]:
        """Judge a conversation that is about to be sent to a model.

        Args:
            messages: The whole conversation, oldest first, without histories of their own.
            vault: Where reversible redaction keeps the originals of this request.
        """
        start = new_from(messages)
        is_known = start > 0 and self._memory.has_passed(whole(messages[:start]))
        first = start if is_known else 0
        # A message is keyed with the request it follows; of a known conversation, only that one.
        since = _last_request(messages, first)
        names = dict(enumerate(keys(messages[since:]), since))
        fresh: list[Turn] = []
        recalled: list[Judged] = []
        for number in range(first, len(messages)):
            if messages[number].role in self._trusted:
                continue
            known = self._memory.recall(names[number]) if number < start else None
            if known is None:
                fresh.extend(turns(messages, number))
            elif not known.passes:
                recalled += self._again(turns(messages, number), known, vault)
        judged = yield from self.judge(fresh, vault)
        self._remember(judged, names)
        stopped = [judge for judge in recalled if judge.decision.action.stops]
        if not recalled and all(map(_passed, judged)):
            self._memory.passed(whole(messages))
            if start and not is_known:
                self._memory.passed(whole(messages[:start]))
        return Outcome((*stopped, *judged), _changes((*recalled, *judged)))

    def answers(
        self, messages: Sequence[Content], answers: Sequence[Content], vault: Vault
    ) -> Flow[list[Outcome]]:
        """Judge alternative answers to a conversation, each for itself.

        Args:
            messages: The conversation as the model saw it.
            answers: What the model said and called, placeholders still in place.
            vault: That of the request; placeholders made here differ from all of its own.
        """
        history = tuple(messages[-REACH:])
        batch = [t for n, answer in enumerate(answers) for t in answer_turns(answer, n, history)]
        judged = yield from self.judge(batch, scratch(messages, vault))
        outcomes = []
        for number in range(len(answers)):
            own = [judge for judge in judged if judge.turn.message == number]
            outcomes.append(Outcome(tuple(own), _changes(own)))
        return outcomes

    def note(self, messages: Sequence[Content], answer: Content, outcome: Outcome) -> None:
        """Remember an answer that went out as it is, so that it is known when it comes back."""
        if outcome.stops or outcome.changes:
            return
        last = last_asked(messages)
        name = keys([answer] if last is None else [last, answer])[-1]
        self._remember(outcome.judged, {judge.turn.message: name for judge in outcome.judged})
        if self._memory.has_passed(whole(messages)) and all(map(_passed, outcome.judged)):
            self._memory.passed(whole([*messages, answer]))

    def call(self, messages: Sequence[Content], call: Content, vault: Vault) -> Flow[Outcome]:
        """Judge one tool call of an answer that is still being written."""
        [outcome] = yield from self.answers(messages, [call], vault)
        return outcome

    def _again(self, again: Iterable[Turn], known: Known, vault: Vault) -> list[Judged]:
        return [
            Judged(turn, self.rails.at(turn.stage).decide(turn.content, verdicts, vault))
            for turn, verdicts in zip(again, known.verdicts, strict=True)
        ]

    def judge_answers(
        self, messages: Sequence[Content], batch: Sequence[Turn], vault: Vault
    ) -> Flow[list[Judged]]:
        """Judge turns of answers; as `answers`, for who makes the turns."""
        return self.judge(batch, scratch(messages, vault))

    def judge(self, batch: Sequence[Turn], vault: Vault) -> Flow[list[Judged]]:
        """Judge turns, those of one stage as one batch, all stages side by side."""
        stages = {turn.stage for turn in batch}
        if len(stages) == 1:
            rail = self.rails.at(batch[0].stage)
            alone = yield from rail.check([turn.content for turn in batch], vault)
            return [Judged(turn, each) for turn, each in zip(batch, alone, strict=True)]
        groups: dict[Stage, list[int]] = {}
        for slot, turn in enumerate(batch):
            groups.setdefault(turn.stage, []).append(slot)
        flows = [
            self.rails.at(stage).check([batch[slot].content for slot in slots], vault)
            for stage, slots in groups.items()
        ]
        columns = yield from gather(flows)
        decisions: dict[int, Decision] = {}
        for slots, column in zip(groups.values(), columns, strict=True):
            if isinstance(column, GuardError):
                raise column
            decisions.update(zip(slots, column, strict=True))
        return [Judged(turn, decisions[slot]) for slot, turn in enumerate(batch)]

    def _remember(self, judged: Sequence[Judged], names: Mapping[int, bytes]) -> None:
        if len(judged) == 1:
            turn, decision = judged[0].turn, judged[0].decision
            known = Known(decision.action <= Action.FLAG, (decision.verdicts,))
            self._memory.remember(names[turn.message], known)
            return
        by_message: dict[int, list[Decision]] = {}
        for judge in judged:
            by_message.setdefault(judge.turn.message, []).append(judge.decision)
        for number, decisions in by_message.items():
            passes = all(decision.action <= Action.FLAG for decision in decisions)
            known = Known(passes, tuple(decision.verdicts for decision in decisions))
            self._memory.remember(names[number], known)


def scratch(messages: Sequence[Content], vault: Vault) -> Vault:
    """Return a vault for what is masked in an answer: none of its names stands in the request.

    What an answer reveals is not turned back, so it must not be taken for what the request hid.
    """
    own = Vault()
    if len(vault):
        own.reserve(words(part) for message in messages for part in message.parts)
    return own


def _last_request(messages: Sequence[Content], before: int) -> int:
    """Return the number of the last user's message before a place, or 0."""
    for number in range(before - 1, -1, -1):
        if messages[number].role is Role.USER:
            return number
    return 0


def _passes(decision: Decision) -> bool:
    """Whether what was judged goes on as it came, and every guard could judge it."""
    return decision.action <= Action.FLAG and not decision.failed


def _passed(judge: Judged) -> bool:
    return _passes(judge.decision)


def _changes(judged: Sequence[Judged]) -> tuple[Change, ...]:
    return tuple(
        Change(judge.turn.message, judge.turn.first + number, part)
        for judge in judged
        if judge.decision.action is Action.REDACT
        for number, part in enumerate(judge.decision.content.parts)
        if part is not judge.turn.content.parts[number]
    )
