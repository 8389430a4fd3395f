"""Stop an answer while it is written, by a model that was taught to read unfinished ones.

Li et al. 2025, arXiv 2506.09996: a causal model scores every word from the request and the words
before it; delay-k stops the stream once enough of them are harmful. Here the guard reports, at each
word, the highest score that enough words of late reach, and the policy's threshold says when that
stops the stream: with the threshold of the paper's rule both stop at the same word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from balustrade.core.call import Flow, Heard, advance
from balustrade.core.content import Content, Role
from balustrade.core.guard import Latency
from balustrade.core.spec import Probability, Spec
from balustrade.core.taxonomy import RESPONSE_HARM
from balustrade.core.verdict import Finding, Span, Verdict
from balustrade.guards.doubt import BEGUN, EVERY, REQUEST, Doubt, confirmed, opinions
from balustrade.guards.watched import Hit, Pause, Watched, passed, read_on, rested, settled
from balustrade.shipped import SHIPPED, Stop, described
from balustrade.text.growing import LONGEST


class Scm(Spec, frozen=True):
    """Report how surely the last words of an answer are harmful, word by word as it is written.

    A word counts from `floor` on. The score at a word is the highest that `hits` of the last
    `words` words reach; it is reported when it rises. The finding's place begins at that word, or
    at the first of its hits that has not left. Requests are read, and never judged.

    After a word that counts the next ones wait a moment (`pause`), so that little of what follows
    has left by the time that enough of them count.

    A rule of this guard names it (`guard = "scm"`), as its scores are not those of a classifier:
    `false_alarms` is the share of long harmless answers, of 100 to 4,000 words, that are stopped.

    With `confirm`, words that reach the floor by the rule wait, at most until twelve words of the
    answer or eight since the last time were read, for that model to judge the answer so far. What
    is reported then is one score of both (`guards/doubt.py`).

    Fails: if a model does not answer.
    """

    model: str = "monitor"
    name: str = "scm"
    category: str = RESPONSE_HARM
    floor: Probability = 0.5
    """Scores below this count for nothing."""

    hits: Annotated[int, Meta(ge=0)] = 0
    """Words that must be harmful (k); as shipped with the model if 0."""

    words: Annotated[int, Meta(ge=0)] | None = None
    """Among how many of the last words; since the beginning if 0, as shipped if not given."""

    leak: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.0
    """Instead of a window: how much of a hit each word makes forgotten."""

    held_back: Annotated[int, Meta(ge=0, le=64)] = 0
    """Words that wait for as many more to be judged, so that they can be withheld with them."""

    pause: Annotated[int, Meta(ge=0, le=64)] = 12
    """Words that wait, from one that counts on, for more of them to come; else they leave."""

    whole: bool = True
    """Whether answers that are not streamed are judged too."""

    confirm: str = ""
    """A model of whole answers that must agree, such as `cascade`; none is asked if empty."""

    def __post_init__(self) -> None:
        if self.words and self.hits > self.words:
            raise ValueError(f"{self.hits} hits cannot be among {self.words} words")
        if described(self.model) is None and not (self.hits and self.words is not None):
            raise ValueError(f"model {self.model!r} comes without a rule: give 'hits' and 'words'")
        other = described(self.confirm)
        if other and (other.stop or self.category not in other.labels):
            raise ValueError(
                f"model {self.confirm!r} does not judge whole answers for {self.category!r}"
            )

    @property
    def judges(self) -> frozenset[str]:
        """Text: what a tool is called with is no answer."""
        return frozenset({"text"})

    @property
    def latency(self) -> Latency:
        """Microseconds a word for the shipped model alone, else a model's time."""
        if not {self.model, self.confirm or self.model} <= SHIPPED:
            return Latency.MODEL
        return Latency.MILLISECONDS if self.confirm else Latency.MICROSECONDS

    @property
    def hold(self) -> int:
        """The open word, those that are held back or wait, and those of a stream in doubt."""
        waiting = self.pause + (BEGUN + EVERY if self.confirm else 0)
        return LONGEST * (1 + 2 * (self.held_back + waiting))

    @property
    def rule(self) -> Stop:
        """How many hits among how many words."""
        known = described(self.model)
        shipped = known.stop if known and known.stop else Stop(self.hits, 0)
        words = shipped.words if self.words is None else self.words
        return Stop(self.hits or shipped.hits, words)

    @property
    def explained(self) -> str:
        """What it makes of the scores of words."""
        if not self.confirm:
            return self._ruled
        return f"{self._ruled}; if any do, asks {self.confirm}, and reports a mean of both"

    @property
    def _ruled(self) -> str:
        counted = f"{self.name} counts words from {self.floor:.2f} on"
        rule = self.rule
        if self.leak:
            return f"{counted}, forgets {self.leak:g} of one with each word, and needs {rule.hits}"
        if rule.hits == 1:
            return f"{counted}, and reports the highest score so far"
        among = f"of the last {rule.words} words" if rule.words else "of all words"
        return f"{counted}, and reports the highest score that {rule.hits} {among} reach"

    def threshold_for(self, category: str, false_alarms: float) -> float | None:
        """Return from which score on at most this share of long harmless answers is stopped.

        None for another category, another model, or another rule than the shipped one.

        Raises:
            PolicyError: So low a rate was not measured.
        """
        known = described(self.model)
        if known is None or category != self.category or self.rule != known.stop or self.leak:
            return None
        if not self.confirm:
            return known.threshold_for(RESPONSE_HARM, false_alarms)
        return known.confirmed_for(self.confirm, false_alarms)

    def check(self, batch: Sequence[Content], /) -> Flow[list[Verdict]]:
        """Judge whole answers, as if they were written now."""
        able = [slot for slot, each in enumerate(batch) if self.whole and _is_answer(each)]
        verdicts = [Verdict(self.name) for _ in batch]
        if able:
            asked = [batch[slot].request for slot in able]
            texts = [batch[slot].text for slot in able]
            read = yield from advance(self.model, asked, texts, ends=True)
            states = [
                read_on(self.start(batch[slot]), one, text, keeps=bool(self.confirm))
                for slot, one, text in zip(able, read, texts, strict=True)
            ]
            for slot, verdict in zip(able, (yield from self._through(states)), strict=True):
                is_one = len(batch[slot].parts) == 1
                verdicts[slot] = verdict if is_one else _placeless(verdict)
        return verdicts

    def start(self, content: Content, /) -> Watched:
        """Return the state before the first chunk of an answer to `content`."""
        request = content.text if content.role is Role.USER else content.request
        return Watched(request, request=request[: 2 * REQUEST] if self.confirm else "")

    def step(
        self, states: Sequence[Watched], chunks: Sequence[str], /
    ) -> Flow[list[tuple[Watched, Verdict]]]:
        """Judge what is whole, up to the first word at which the score rises."""
        fed = [slot for slot, chunk in enumerate(chunks) if chunk]
        grown = list(states)
        if fed:
            memories = [states[slot].memory for slot in fed]
            read = yield from advance(self.model, memories, [chunks[slot] for slot in fed])
            for slot, one in zip(fed, read, strict=True):
                grown[slot] = read_on(states[slot], one, chunks[slot], keeps=bool(self.confirm))
        moved = [self._onward(state) for state in grown]
        return (yield from self._asked(moved)) if self.confirm else moved

    def held(self, state: Watched, /) -> int:
        """Return how many characters wait: unread, unjudged, held back, or in doubt."""
        free = state.starts[0] if state.starts else state.judged
        if state.pause:
            free = min(free, state.pause.start)
        return state.size - (min(free, state.doubt.start) if state.doubt else free)

    def rests(self, state: Watched, /) -> bool:
        """Whether every word that was read is judged."""
        return not state.ahead

    def peek(self, states: Sequence[Watched], /) -> Flow[list[Verdict | None]]:
        """Judge each text as it stands, its open word included; None if a word of it is to wait."""
        ended = yield from self._ended(states)
        return [Verdict(self.name) if self._is_calm(state) else None for state in ended]

    def finish(self, states: Sequence[Watched], /) -> Flow[list[Verdict]]:
        """Judge the open word of each stream that has ended."""
        return (yield from self._through((yield from self._ended(states))))

    def _ended(self, states: Sequence[Watched]) -> Flow[list[Watched]]:
        """Return the states with the open word read, as if nothing followed."""
        read = yield from advance(
            self.model, [state.memory for state in states], [""] * len(states), ends=True
        )
        return [
            replace(state, ahead=(*state.ahead, *one.words))
            for state, one in zip(states, read, strict=True)
        ]

    def _is_calm(self, state: Watched) -> bool:
        """Whether no word waits, and none that is read next will."""
        waits = self.held_back or state.pause or state.doubt
        return not waits and all([word.score < self.floor for word in state.ahead])

    def _through(self, states: Sequence[Watched]) -> Flow[list[Verdict]]:
        """Judge all words that were read of texts that end there; return all findings of each."""
        findings: list[list[Finding]] = [[] for _ in states]
        going = dict(enumerate(states))
        while going:
            moved = [self._onward(state, ends=True) for state in going.values()]
            if self.confirm:
                moved = yield from self._asked(moved)
            for slot, (state, verdict) in zip([*going], moved, strict=True):
                findings[slot] += verdict.findings
                going[slot] = state
            going = {slot: state for slot, state in going.items() if state.ahead}
        return [Verdict(self.name, tuple(own)) for own in findings]

    def _asked(
        self, moved: Sequence[tuple[Watched, Verdict]]
    ) -> Flow[list[tuple[Watched, Verdict]]]:
        """Ask about all streams whose doubt is due, and report what comes of it."""
        found = list(moved)
        due = [slot for slot, (state, _) in enumerate(moved) if state.asks]
        if due:
            asked = [moved[slot][0].question() for slot in due]
            said = yield from opinions(self.confirm, self.category, asked)
            for slot, opinion in zip(due, said, strict=True):
                found[slot] = self._answered(moved[slot][0], opinion)
        return found

    def _answered(self, state: Watched, opinion: float) -> tuple[Watched, Verdict]:
        """Return the state once the other model has spoken, with a finding if the score rises."""
        assert state.doubt is not None
        score = confirmed(state.doubt.score, opinion)
        due = state.seen + EVERY
        # Where both lean to harm, the words wait until the next answer; once, or they never leave.
        has_waited = state.pause and state.pause.asked
        waits = self.pause and score >= self.floor and not has_waited
        pause = Pause(state.doubt.start, due, asked=True) if waits else None
        best = max(score, state.best)
        calm = replace(state, pause=pause, doubt=None, asks=False, due=due, best=best)
        if score <= state.best:
            return calm, Verdict(self.name)
        place = Span(0, state.doubt.start, state.doubt.end)
        return calm, Verdict(self.name, (Finding(self.category, score, place),))

    def _onward(self, state: Watched, *, ends: bool = False) -> tuple[Watched, Verdict]:
        """Judge words up to the first at which the score rises, or another model is to be asked."""
        calm = 0
        for number, word in enumerate(state.ahead, 1):
            waits = self.held_back or state.pause or state.doubt
            if word.score < self.floor and not waits:
                calm += 1
                continue
            rule = self.rule
            state = self._counted(passed(state, calm, self.leak), word, rule)
            state = self._paused(state, word)
            calm = 0
            score = self._score(state, rule) if word.score >= self.floor else 0.0
            if self.confirm:
                state = self._doubted(state, word, score)
                if state.doubt and state.seen >= state.due:
                    state = settled(state, state.ahead[number:], word)
                    return replace(state, asks=True), Verdict(self.name)
            elif score > state.best:
                finding = Finding(self.category, score, self._place(state, word))
                state = settled(state, state.ahead[number:], word)
                return replace(state, best=score), Verdict(self.name, (finding,))
        state = rested(state, calm, self.leak)
        return replace(state, asks=True) if ends and state.doubt else state, Verdict(self.name)

    def _paused(self, state: Watched, word: Heard) -> Watched:
        """Return the state with a pause that a word begins or ends."""
        pause = state.pause
        if pause and state.seen >= pause.until and not state.doubt:
            pause = None
        if pause is None and word.score >= self.floor and self.pause:
            pause = Pause(word.start, state.seen + self.pause)
        return state if pause is state.pause else replace(state, pause=pause)

    def _doubted(self, state: Watched, word: Heard, score: float) -> Watched:
        """Return the state with what a word adds to the doubt, or begins one."""
        known = state.doubt
        if known is None and not score:
            return state
        start = known.start if known else self._start(state, word)
        return replace(
            state, doubt=Doubt(max(score, known.score if known else 0.0), start, word.end)
        )

    def _counted(self, state: Watched, word: Heard, rule: Stop) -> Watched:
        """Return the state with one more word judged."""
        hits, level, lowest = state.hits, max(0.0, state.level - self.leak), state.lowest
        if word.score >= self.floor:
            hits = (*hits, Hit(state.seen, word))
            lowest = min(lowest if level else 1.0, word.score)
            level += 1
        if not rule.words or self.leak:
            hits = tuple(sorted(hits, key=lambda hit: -hit.word.score)[: rule.hits])
        else:
            hits = tuple(hit for hit in hits if hit.place > state.seen - rule.words)
        starts = (*state.starts, word.start)[-self.held_back :] if self.held_back else ()
        return replace(
            state, seen=state.seen + 1, hits=hits, level=level, lowest=lowest, starts=starts
        )

    def _score(self, state: Watched, rule: Stop) -> float:
        """Return the highest score that enough words of late reach."""
        if self.leak:
            return state.lowest if state.level >= rule.hits else 0.0
        if len(state.hits) < rule.hits:
            return 0.0
        return sorted((hit.word.score for hit in state.hits), reverse=True)[rule.hits - 1]

    def _place(self, state: Watched, word: Heard) -> Span:
        """Return where the stream is to end, and what it ends for."""
        return Span(0, self._start(state, word), word.end)

    def _start(self, state: Watched, word: Heard) -> int:
        """Return where the first hit begins that has not left, at the latest with a word."""
        first = state.starts[0] if state.starts else word.start
        waiting = [hit.word.start for hit in state.hits if hit.word.start >= first]
        paused = [state.pause.start] if state.pause else []
        return min([word.start, *waiting, *paused])


def _is_answer(content: Content) -> bool:
    return content.role is Role.ASSISTANT and bool(content.text)


def _placeless(verdict: Verdict) -> Verdict:
    """Return findings of an answer in several parts, which were read as one text."""
    return replace(verdict, findings=tuple(replace(f, span=None) for f in verdict.findings))
