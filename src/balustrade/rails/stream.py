"""Release text no faster than it is judged, and stop it before what must not leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from msgspec.structs import replace

from balustrade.core.call import Flow
from balustrade.core.content import Content, Role, Text
from balustrade.core.decision import Action, Decision, Mask
from balustrade.core.errors import GuardError
from balustrade.core.guard import Incremental, Monitor, follows_streams
from balustrade.core.verdict import Finding, Span, Verdict
from balustrade.flow.gather import gather
from balustrade.flow.offload import is_ours
from balustrade.guards.foreign import expect_verdict
from balustrade.guards.tail import IncrementalGuard, Tail
from balustrade.guards.window import Window
from balustrade.policy.document import Streaming
from balustrade.policy.redact import redact
from balustrade.policy.vault import Vault
from balustrade.rails.posts import Peeking, Post, Resting, in_place
from balustrade.rails.progress import Piece, Progress, Work, before_marks, joined, strongest
from balustrade.rails.rail import Rail

NOTHING = Piece()
EMPTY = Content((Text(""),), Role.ASSISTANT)


class Stream:
    """Judge answers while they are written, each by the guards and the policy of a rail.

    Guards that can tell which end of a text is open (`Incremental`) judge every character as it
    comes and hold back only that end. What they let by goes to the others, which judge the text
    again at a cadence (`Window`); nothing leaves before both have judged it. So the outcome
    depends on the text alone, however it is cut into chunks. Guards that leave streams to others
    (`follows_streams`) take no part.

    The stream is cut before the first place that stops it, and before anything a rule wants
    masked that cannot be masked any more. It stays cut. A monitor that fails is out for the rest
    of that stream, and the policy's `on_error` decides at once what follows.

    Holds no state of any stream, so one `Stream` serves any number of tasks, threads and loops.

    Args:
        rail: The guards, the policy and the stage.
        settings: How often guards of whole texts are asked, and what else is held back.
        monitors: More monitors; they are fed what the guards of nearby text let by.
    """

    def __init__(
        self, rail: Rail, settings: Streaming | None = None, monitors: Sequence[Monitor[Any]] = ()
    ) -> None:
        settings = settings or Streaming()
        able = [g for g in rail.guards if "text" in g.judges and follows_streams(g)]
        near = [guard for guard in able if isinstance(guard, Incremental)]
        far = [guard for guard in able if not isinstance(guard, Incremental)]
        self.policy = rail.policy
        self.stage = rail.stage
        self._near = [
            Post(Tail(cast("IncrementalGuard", guard)), not is_ours(guard)) for guard in near
        ]
        self._far = [
            Post(
                guard
                if isinstance(guard, Monitor)
                else Window(guard, settings.every, settings.window),
                not is_ours(guard),
            )
            for guard in far
        ] + [Post(monitor, not is_ours(monitor)) for monitor in monitors]
        self._near_held = [post.monitor.held for post in self._near]
        self._far_held = [post.monitor.held for post in self._far]
        self._rests = [
            post.monitor.rests if isinstance(post.monitor, Resting) else _goes_on
            for post in self._far
        ]
        self._can_peek = all(isinstance(post.monitor, Peeking) for post in self._far)
        self._hold = settings.hold
        self._judges = frozenset({"text"} if self._near or self._far else ())
        self._is_refused = self._decide(()).action.stops

    @property
    def hold(self) -> int:
        """The most characters that may be held back while nothing is wrong."""
        posts = [*self._near, *self._far]
        return self._hold + max((post.monitor.hold for post in posts), default=0)

    def start(self, content: Content, /) -> Progress:
        """Return the state of the answer to `content` before its first chunk."""
        far = tuple(post.monitor.start(content) for post in self._far)
        return Progress(
            tuple(post.monitor.start(content) for post in self._near),
            far,
            tuple(Verdict(post.monitor.name) for post in (*self._near, *self._far)),
            _helds(self._far_held, far),
            is_cut=self._is_refused,
        )

    def step(
        self,
        states: Sequence[Progress],
        chunks: Sequence[str],
        /,
        vaults: Sequence[Vault | None] = (),
    ) -> Flow[list[tuple[Progress, Piece]]]:
        """Take one chunk of each stream; return what may leave now.

        Args:
            states: Where each stream is.
            chunks: The next chunk of each.
            vaults: For each stream, where reversible redaction keeps the originals.
        """
        return in_place(self._run(_works(states, chunks, vaults), is_last=False))

    def finish(
        self, states: Sequence[Progress], /, vaults: Sequence[Vault | None] = ()
    ) -> Flow[list[tuple[Progress, Piece]]]:
        """End each stream; return what was still held back, and the decision."""
        return in_place(self._run(_works(states, [""] * len(states), vaults), is_last=True))

    def _run(self, works: Sequence[Work], *, is_last: bool) -> Flow[list[tuple[Progress, Piece]]]:
        yield from self._go_near([work for work in works if not work.cut], is_last=is_last)
        live = [work for work in works if not work.cut]
        if self._far:
            yield from self._go_far(live)
            ending = [work for work in live if work.is_ending and not work.cut]
            if ending:
                yield from self._end_far(ending)
            early = [w for w in live if not w.sent and not w.is_ending and not w.judged]
            if early and self._can_peek:
                yield from self._peek(early)
        for work in live:
            self._release(work)
        return [self._result(work, is_last=is_last) for work in works]

    def _go_near(self, works: Sequence[Work], *, is_last: bool) -> Flow[None]:
        """Step the monitors of nearby text, and note how far they have settled."""
        for number, post in enumerate(self._near):
            able = [work for work in works if work.near[number] is not None]
            fed = [work for work in able if work.chunk]
            if fed:
                answers = yield from post.step([(work.near[number], work.chunk) for work in fed])
                for work, answer in zip(fed, answers, strict=True):
                    work.near[number] = self._taken(work, number, answer)
            if is_last and able:
                ends = yield from post.finish([work.near[number] for work in able])
                for work, end in zip(able, ends, strict=True):
                    self._taken(work, number, end)
        waits = self._near and not is_last
        for work in works:
            settled = work.sent + len(work.text)
            if waits:
                settled -= max(_helds(self._near_held, work.near))
            work.is_ending = is_last or 0 <= work.limit <= settled
            work.passed = settled if work.limit < 0 else min(settled, work.limit)

    def _go_far(self, works: Sequence[Work]) -> Flow[None]:
        """Give the other monitors what is settled, until none of them gets any further."""
        going = [work for work in works if work.passed > work.fresh_from]
        chunks = [work.fresh for work in going]
        for work, chunk in zip(going, chunks, strict=True):
            size = len(chunk)
            work.hold(tuple([held + size for held in work.helds]))
        while going:
            for work in going:
                work.clean = work.judged
            yield from self._step_far(going, chunks)
            going = [work for work in going if self._has_advanced(work) and not work.cut]
            chunks = [""] * len(going)

    def _step_far(self, works: Sequence[Work], chunks: Sequence[str]) -> Flow[None]:
        pairs = [*zip(works, chunks, strict=True)]
        able = [
            [pair for pair in pairs if pair[0].far[number] is not None]
            for number in range(len(self._far))
        ]
        flows = [
            post.step([(work.far[number], chunk) for work, chunk in able[number]])
            for number, post in enumerate(self._far)
        ]
        columns = (yield from gather(flows)) if len(flows) > 1 else [(yield from flows[0])]
        for number, column in enumerate(columns):
            answers = column if isinstance(column, list) else [column] * len(able[number])
            place = len(self._near) + number
            for (work, _), answer in zip(able[number], answers, strict=True):
                work.far[number] = self._taken(work, place, answer)

    def _has_advanced(self, work: Work) -> bool:
        before = work.helds
        work.hold(_helds(self._far_held, work.far))
        for number, now in enumerate(work.helds):
            if 0 < now < before[number] and not self._rests[number](work.far[number]):
                return True
        return False

    def _end_far(self, works: Sequence[Work]) -> Flow[None]:
        """Let the other monitors judge what they hold, for each stream that ends here."""
        for work in works:
            work.clean = work.judged
        for number, post in enumerate(self._far):
            able = [work for work in works if work.far[number] is not None]
            if able:
                ends = yield from post.finish([work.far[number] for work in able])
                for work, end in zip(able, ends, strict=True):
                    self._taken(work, len(self._near) + number, end)

    def _peek(self, works: Sequence[Work]) -> Flow[None]:
        """Let the first words leave before their place of judgement, if they are clean so far.

        A finding does not cut the stream here, or the outcome would depend on the first chunk.
        """
        early = [work for work in works if work.passed and not work.marks and not work.cut]
        for number, post in enumerate(self._far):
            early = [work for work in early if work.far[number] is not None]
            if early:
                answers = yield from post.peek([work.far[number] for work in early])
                early = [w for w, a in zip(early, answers, strict=True) if self._is_clean(a)]
        for work in early:
            work.early = work.passed

    def _is_clean(self, answer: Verdict | GuardError | None) -> bool:
        try:
            expect_verdict(answer)
        except GuardError:
            return False
        assert isinstance(answer, Verdict)
        return not answer.error and self._decide((answer,)).action <= Action.FLAG

    def _taken(self, work: Work, number: int, answer: object) -> object:
        """Note what monitor `number` answered; return its new state, None if it failed."""
        state: object = None
        name = work.verdicts[number].guard
        match answer:
            case (given, Verdict() as verdict):
                state = given
            case Verdict() as verdict:
                pass
            case GuardError():
                verdict = Verdict(name, error=str(answer) or "failed")
            case _:
                verdict = Verdict(name, error="gave no verdict")
        if verdict.findings or verdict.error:
            try:
                expect_verdict(verdict)
            except GuardError as error:
                state, verdict = None, Verdict(verdict.guard, error=str(error))
            self._note(work, number, verdict)
        return state

    def _note(self, work: Work, number: int, verdict: Verdict) -> None:
        """Keep the evidence, and see at once what the policy makes of it."""
        is_far = number >= len(self._near)
        known = joined(work.verdicts[number], verdict)
        work.report(number, strongest(known) if is_far else known)
        if verdict.error and self._fails_closed(work.verdicts):
            work.cut = True
        for fired in self.policy.fired((verdict,)):
            if fired.rule.effect.stops:
                work.cut = work.cut or is_far
                work.stop_before(fired.finding)
            elif fired.rule.action == "redact" and not fired.rule.shadow:
                work.mark(fired.finding)

    def _fails_closed(self, verdicts: Sequence[Verdict]) -> bool:
        """Whether these failures alone stop a stream, whatever else was found."""
        failures = [Verdict(verdict.guard, error=verdict.error) for verdict in verdicts]
        return self._decide(failures).rule == "on_error"

    def _release(self, work: Work) -> None:
        if work.cut:
            end = work.clean
        elif work.is_ending:
            end = work.passed
        else:
            end = work.judged or work.early
        if work.cut or not work.is_ending or work.limit >= 0:
            end -= self._hold
        if work.marks:
            end = before_marks(end, work.marks)
        if end > work.sent:
            inside = work.let_out(end)
            if inside:
                self._mask(work, inside)
        work.cut = work.cut or (work.is_ending and work.limit >= 0)

    def _mask(self, work: Work, findings: Sequence[Finding]) -> None:
        start = work.sent - len(work.out)
        content = Content((Text(work.out),), Role.ASSISTANT)
        done = redact(content, findings, self.policy.redaction, vault=work.vault)
        work.out = done.content.text
        work.masks += tuple(
            Mask(
                Span(0, mask.span.start + start, mask.span.end + start),
                mask.category,
                mask.placeholder,
            )
            for mask in done.masks
        )

    def _result(self, work: Work, *, is_last: bool) -> tuple[Progress, Piece]:
        state = work.result()
        if not work.cut and not is_last:
            return state, Piece(work.out) if work.out else NOTHING
        decision = self._decide(work.verdicts)
        if work.masks:
            decision = replace(decision, masks=work.masks)
        return state, Piece(work.out, work.cut, decision)

    def _decide(self, verdicts: Sequence[Verdict]) -> Decision:
        return self.policy.decide(EMPTY, verdicts, self._judges, self.stage.value)


def _works(
    states: Sequence[Progress], chunks: Sequence[str], vaults: Sequence[Vault | None]
) -> list[Work]:
    each = vaults or [None] * len(states)
    return [
        Work(state, chunk, vault) for state, chunk, vault in zip(states, chunks, each, strict=True)
    ]


def _goes_on(_state: object) -> bool:
    """Stand for what a monitor does not say: another step may get it further."""
    return False


def _helds(held: Sequence[Callable[[Any], int]], states: Sequence[Any]) -> tuple[int, ...]:
    """Return how much each monitor holds; one that failed holds nothing."""
    if len(held) == 1:  # as most streams have
        return (0 if states[0] is None else held[0](states[0]),)
    pairs = zip(held, states, strict=True)
    return tuple([0 if state is None else ask(state) for ask, state in pairs])
