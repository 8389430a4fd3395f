"""Release a growing answer by the sentence, and go back to the last that passed."""

from __future__ import annotations

from msgspec import Struct

from balustrade.core.call import Flow
from balustrade.core.content import Content
from balustrade.core.errors import GuardError
from balustrade.guards.cadence import Place, first_due
from balustrade.policy.vault import Vault
from balustrade.rails.progress import Piece, Progress
from balustrade.rails.stream import Stream

_START = Place(0, 0)


class Ended(Struct, frozen=True):
    """Where a sentence ends, and the state of the stream there: a place to go back to."""

    progress: Progress
    end: int = 0
    """Where it ends in the text as it came."""
    given: int = 0
    """How much of that text the stream was given, the gap after the sentence included."""
    out: int = 0
    """Characters that the stream had let out when it was given that much."""


class Sentences:
    """One answer under an output rail, out of which nothing comes but whole sentences that passed.

    The rail is given a sentence at a time, with all before it; a sentence passes once the stream
    has let out every character of it. Then it leaves and stays. A sentence that is stopped never
    leaves in part, and `rewind` has the rail forget it and what follows.

    Args:
        stream: The rail; it judges at each sentence's end and holds nothing beyond that.
        content: What is answered.
        vault: Where reversible redaction keeps the originals.
    """

    def __init__(self, stream: Stream, content: Content, vault: Vault | None = None) -> None:
        self._stream = stream
        self._vaults = (vault,)
        self._progress = stream.start(content)
        self._last = Ended(self._progress)
        self._ends: list[Ended] = []
        self._text = ""
        self._open = ""
        self._seen = _START
        self._said = ""
        self._out = 0
        self._tail = ""
        self._again = ""
        """What left already and will be let out once more, after going back."""

    @property
    def said(self) -> str:
        """All that has left."""
        return self._said

    @property
    def progress(self) -> Progress:
        """The state of the stream."""
        return self._progress

    @property
    def text(self) -> str:
        """The text as it came up to the last sentence that has left."""
        return self._text[: self._last.given]

    def feed(self, chunk: str) -> Flow[Piece]:
        """Take more of the text; return the sentences that passed now, or that it is stopped."""
        self._open += chunk
        text = ""
        while True:
            self._seen, is_due = first_due(self._open, self._seen, _START, "sentence")
            if not is_due:
                return Piece(text)
            end = self._seen.end
            gap = self._open[end : end + 1].isspace()
            sentence, self._open = self._open[: end + gap], self._open[end + gap :]
            self._seen = _START
            piece = yield from self._judge(sentence, end)
            text += piece.text
            if piece.cut:
                return Piece(text, True, piece.decision)

    def finish(self) -> Flow[Piece]:
        """End the text; return what was held back of it, unless it is stopped, and the decision."""
        rest, self._open = self._open, ""
        text = ""
        if rest:
            piece = yield from self._judge(rest, len(rest))
            text = piece.text
            if piece.cut:
                return piece
        [(self._progress, last)] = yield from self._stream.finish([self._progress], self._vaults)
        assert last.decision is not None
        if last.cut or last.decision.action.stops:
            return Piece(text, True, last.decision)
        self._let_out(last.text)
        tail, self._tail = self._tail, ""
        self._said += tail
        return Piece(text + tail, False, last.decision)

    def rewind(self) -> None:
        """Forget all that came after the last sentence that has left."""
        last = self._last
        self._progress, self._out = last.progress, last.out
        self._text, self._open, self._seen = self._text[: last.given], "", _START
        # Let out with the sentence, but not yet gone, is at most the gap after it.
        self._tail = self._tail[: max(last.out - len(self._said), 0)]
        self._again = self._said[last.out :]
        self._ends.clear()

    def _judge(self, sentence: str, end: int) -> Flow[Piece]:
        start = len(self._text)
        self._text += sentence
        [(self._progress, piece)] = yield from self._stream.step(
            [self._progress], [sentence], self._vaults
        )
        if piece.cut:
            return Piece("", True, piece.decision)
        self._let_out(piece.text)
        self._ends.append(Ended(self._progress, start + end, len(self._text), self._out))
        return Piece(self._passed())

    def _let_out(self, text: str) -> None:
        """Keep what the stream let out, less what left before it went back."""
        self._out += len(text)
        again = self._again[: len(text)]
        if not text.startswith(again):
            raise GuardError("what left already was masked otherwise when it was judged again")
        self._again = self._again[len(again) :]
        self._tail += text[len(again) :]

    def _passed(self) -> str:
        """Move on to the last sentence that was let out whole; return what leaves with it."""
        passed = [each for each in self._ends if self._is_out(each.end)]
        if not passed:
            return ""
        self._last = passed[-1]
        self._ends = [each for each in self._ends if each.end > self._last.end]
        leaves = self._place(self._last.end) - len(self._said)
        text, self._tail = self._tail[:leaves], self._tail[leaves:]
        self._said += text
        return text

    def _is_out(self, end: int) -> bool:
        """Whether all up to a place of the text as it came was let out, and is told apart there."""
        spans = [mask.span for mask in self._progress.masks]
        return end <= self._progress.sent and not any(s.start < end < s.end for s in spans)

    def _place(self, end: int) -> int:
        """Return where a place of the text as it came is in what is let out of it."""
        masks = (mask for mask in self._progress.masks if mask.span.end <= end)
        return end + sum(
            len(mask.placeholder) - (mask.span.end - mask.span.start) for mask in masks
        )
