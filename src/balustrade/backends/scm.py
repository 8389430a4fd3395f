"""A streaming content monitor over a causal decoder of Hugging Face; answers `Advance`.

Li et al. 2025, arXiv 2506.09996. The request and two line breaks come first and are never scored,
then the answer. A word is read once it is whole. Its score is the highest probability of harm among
its tokens: the paper counts tokens, and labels a token harmful if any word it stands in is, so a
word that holds a token to stop at is one to stop at. A word of several such tokens counts once
here: k words stop no sooner than k tokens.

A step is one forward pass over the new tokens of all texts, whatever their length so far. A text
longer than the model's context (or `longest`) goes on from its request and the last half of a
context, read anew each time the context is full; it is full again after a quarter of a context or
more, so that over a long text a token costs at most four.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import NamedTuple

from msgspec import Struct

from balustrade.backends import pretrained
from balustrade.backends.causal import Causal, Fed, Feed, Memory
from balustrade.backends.device import lock_of
from balustrade.backends.tokens import Tokens
from balustrade.core.call import Advance, Advanced, Failed, Heard, Onward, Reply
from balustrade.core.errors import BackendError
from balustrade.text.growing import Word, every, whole

GAP = 16
"""Characters of a gap that are read, the last ones."""
NOTHING = Memory()


class State(Struct, frozen=True, eq=False):
    """Where the reading of one answer is."""

    request: tuple[int, ...]
    """Tokens that come before the answer."""
    memory: Memory = NOTHING
    tail: tuple[int, ...] = ()
    """Tokens of the answer that were read last, half a context of them at most."""
    open: str = ""
    """What was given and is no whole word yet, with the gap before it."""
    start: int = 0
    """Where `open` begins in the answer."""


class Scm(Struct, frozen=True, dict=True):
    """A monitor; its weights are read when they are first needed."""

    name: str
    """A name on the hub, or the path of a folder that holds the model and its tokenizer."""
    device: str = "cpu"
    batch: int = 32
    """Texts a forward pass."""
    longest: int = 4_096
    """Tokens that are held of a text at most, its request's included; so long were the paper's."""

    def answer(self, call: Advance) -> Reply:
        """Read on in each text.

        Raises:
            BackendError: The model is no monitor, or a state is not one of its own.
        """
        if len(call.states) != len(call.chunks):
            return Failed(f"{len(call.states)} states were given for {len(call.chunks)} chunks")
        with lock_of(self.device):
            return Onward(tuple(self.read(call.states, call.chunks, ends=call.ends)))

    def read(
        self, states: Sequence[State | str], chunks: Sequence[str], *, ends: bool = False
    ) -> list[Advanced]:
        """Read on in answers.

        Args:
            states: Where each is, or before its first chunk the request it answers.
            chunks: What came since.
            ends: Whether the answers end here.
        """
        begun = [self._begun(state) for state in states]
        cuts = [
            cut(s.open, chunk, s.start, ends=ends) for s, chunk in zip(begun, chunks, strict=True)
        ]
        spelt = iter(self._tokens.words([text for each in cuts for text in each.texts]))
        words = [[next(spelt) for _ in each.texts] for each in cuts]
        runs = [_Run(s, [*chain(*own)], self._limit) for s, own in zip(begun, words, strict=True)]
        while left := [run for run in runs if run.left]:
            feeds = [run.feed() for run in left]
            for run, fed in zip(left, self._model.run(feeds), strict=True):
                run.take(fed)
        return [
            Advanced(run.state(each), tuple(_heard(each.words, own, run.scores)), each.open)
            for run, each, own in zip(runs, cuts, words, strict=True)
        ]

    def _begun(self, state: object) -> State:
        """Return a state; of a long request its beginning and its end, a quarter of a context."""
        if isinstance(state, State):
            return state
        if not isinstance(state, str):
            raise BackendError(f"model {self.name!r}: a state is not one of its own")
        tokens, most = self._tokens.request(state), self._limit // 4
        if len(tokens) > most:
            tokens = [*tokens[: most // 2], *tokens[most // 2 - most :]]
        return State(tuple(tokens))

    @cached_property
    def _limit(self) -> int:
        return min(self._model.context, self._tokens.limit, self.longest)

    @cached_property
    def _model(self) -> Causal:
        return Causal(self.name, self.device, self.batch)

    @cached_property
    def _tokens(self) -> Tokens:
        return Tokens(pretrained.tokenizer(self.name))


class _Run:
    """One text while it is read on."""

    def __init__(self, state: State, left: list[int], limit: int) -> None:
        self.left = left
        self.scores: list[float] = []
        self._limit = limit
        self._request = state.request
        self._memory = state.memory
        self._tail = state.tail
        self._before = 0

    def feed(self) -> Feed:
        """Return what is read next: what has room, after what is read anew if the room is out."""
        if self._memory.seen >= self._limit:
            self._memory = NOTHING
        known = [] if self._memory.seen else [*self._request, *self._tail]
        self._before = len(known)
        room = self._limit - self._memory.seen - len(known)
        return Feed([*known, *self.left[:room]], self._memory)

    def take(self, fed: Fed) -> None:
        """Take what was read."""
        scores = fed.scores[self._before :]
        self.scores += scores
        self._tail = (*self._tail, *self.left[: len(scores)])[-(self._limit // 2) :]
        self.left = self.left[len(scores) :]
        self._memory = fed.memory

    def state(self, known: Cut) -> State:
        """Return where the text is now."""
        return State(self._request, self._memory, self._tail, known.rest, known.start)


class Cut(NamedTuple):
    """What is known of a text, cut into words."""

    words: list[Word]
    """Placed in the answer."""
    texts: list[str]
    """Of each word, with the gap before it."""
    rest: str
    """What stays open, with the gap before it."""
    start: int
    """Where `rest` begins in the answer."""
    open: int
    """Where the open word begins."""


def cut(rest: str, chunk: str, start: int = 0, *, ends: bool) -> Cut:
    """Cut what was given, of which `rest` begins at `start`, into words."""
    text = rest + chunk
    words = every(text) if ends else whole(text)
    firsts = [0, *(word.end for word in words)]
    texts = [
        text[first : word.start][-GAP:] + word.text
        for first, word in zip(firsts, words, strict=False)
    ]
    bare = text[firsts[-1] :].lstrip()
    opens = len(text) - len(bare)
    kept = text[firsts[-1] : opens][-GAP:] + bare
    placed = [Word(word.start + start, word.end + start, word.text) for word in words]
    return Cut(placed, texts, kept, start + len(text) - len(kept), start + opens)


def _heard(
    words: Sequence[Word], tokens: Sequence[Sequence[int]], scores: Sequence[float]
) -> Iterator[Heard]:
    """Yield words with the highest score of their tokens; a word without tokens scores 0."""
    first = 0
    for word, own in zip(words, tokens, strict=True):
        yield Heard(word.start, word.end, max(scores[first : first + len(own)], default=0.0))
        first += len(own)
