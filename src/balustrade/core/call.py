"""Calls a guard yields, replies it is sent, and the typed helpers that hide the pairing.

A guard does no I/O. It yields a round of calls and is sent one reply for each, in order; what
answers (NumPy here, a server elsewhere, a recording) is settled by the driver's backend.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeAlias, TypeVar

from msgspec import Struct

from balustrade.core.errors import BackendError

T = TypeVar("T")
A = TypeVar("A")

LIGHT = 100_000
"""Declared work, in characters, up to which a computation may run on the event loop."""


class Generate(Struct, frozen=True, tag="generate"):
    """Continue each prompt."""

    model: str
    prompts: tuple[str, ...]
    system: str = ""
    choices: tuple[str, ...] = ()
    """If given, the answer must be one of these; a server that can constrain output does."""
    logprobs: int = 0
    """How many alternatives of the first answer token to report, 0 for none."""
    max_tokens: int = 256
    raw: bool = False
    """Whether a prompt is all that the model reads, its control tokens included; else a message."""


class Chat(Struct, frozen=True, tag="chat"):
    """Answer a conversation once; where `Generate` asks one thing of many prompts."""

    model: str
    messages: tuple[tuple[str, str], ...]
    """Who speaks (`system`, `user`, `assistant`) and what, oldest first."""
    schema: str = ""
    """A JSON schema of the answer, which a server that can constrain output keeps; may be empty."""
    logprobs: int = 0
    """How many alternatives to report of each token of the answer, 0 for no tokens at all."""
    max_tokens: int = 512


class Classify(Struct, frozen=True, tag="classify"):
    """Score each text for every label of the model; `contexts` holds what a text answers."""

    model: str
    texts: tuple[str, ...]
    contexts: tuple[str, ...] = ()
    apart: bool = False
    """Whether labels do not exclude each other; if not, that is for the model's files to say."""
    careful: bool = False
    """Whether a model of several tiers must not settle a text by its first alone."""


class Embed(Struct, frozen=True, tag="embed"):
    """Turn each text into a vector."""

    model: str
    texts: tuple[str, ...]


class Likelihood(Struct, frozen=True, tag="score"):
    """Give the log-likelihood of each continuation after its prompt."""

    model: str
    prompts: tuple[str, ...]
    continuations: tuple[str, ...]


class Advance(Struct, frozen=True, tag="advance"):
    """Have a model read on in growing texts, each from where it was."""

    model: str
    states: tuple[Any, ...]
    """Of each text what the model gave back last, or the request it answers before its start."""
    chunks: tuple[str, ...]
    ends: bool = False
    """Whether the texts end here, so that what is open is read too."""


class Compute(Struct, frozen=True, tag="compute"):
    """Run a pure Python function off the loop; the one way for a guard to do heavy work."""

    function: Callable[[Any], Any]
    argument: Any
    work: int = -1
    """Declared size in characters; light work may stay on the loop, undeclared never does."""


Call: TypeAlias = Generate | Chat | Classify | Embed | Likelihood | Advance | Compute


class Texts(Struct, frozen=True, tag="texts"):
    """One text for each prompt; `logprobs` maps first-token alternatives to log-probabilities."""

    texts: tuple[str, ...]
    logprobs: tuple[dict[str, float], ...] = ()


class Token(Struct, frozen=True):
    """A token of an answer, and what might have stood there: texts and their log-probabilities."""

    text: str
    alternatives: dict[str, float] = {}


class Spoken(Struct, frozen=True, tag="spoken"):
    """The answer to a `Chat`; `tokens` make up its text, or are empty."""

    text: str
    tokens: tuple[Token, ...] = ()
    seconds: float = 0.0
    """How long it took, as whoever answered measured it; 0 if it came from memory."""

    prompt_tokens: int = 0
    """Tokens that were read, as the server counts them; 0 where it does not say."""

    completion_tokens: int = 0
    """Tokens that were written, likewise."""


class Vectors(Struct, frozen=True, tag="vectors"):
    """A matrix of float32, row-major, native order, as bytes; read without a copy by NumPy."""

    data: bytes
    columns: int
    labels: tuple[str, ...] = ()
    """What each column is the score of, where the columns are labels."""

    @classmethod
    def of(cls, rows: Sequence[Sequence[float]], labels: tuple[str, ...] = ()) -> Vectors:
        """Pack rows of equal length."""
        columns = len(rows[0]) if rows else len(labels)
        return cls(array("f", [x for row in rows for x in row]).tobytes(), columns, labels)

    def rows(self) -> list[list[float]]:
        """Unpack into one list of floats a row."""
        if not self.columns:
            return []
        flat: list[float] = array("f", self.data).tolist()
        return [flat[i : i + self.columns] for i in range(0, len(flat), self.columns)]


# Values of a live stream are thousands, and no cycle runs through them: the collector of cycles
# would walk them in vain (`gc=False`, here and where they are kept).
class Heard(Struct, frozen=True, gc=False):
    """A word that a model read in a growing text: where it stands, and the score of harm there."""

    start: int
    end: int
    score: float


class Advanced(Struct, frozen=True, gc=False):
    """Where one growing text is now, and the words that were read since."""

    state: Any
    words: tuple[Heard, ...] = ()
    open: int = 0
    """Where the word begins that more text may yet change, and that was not read."""


class Onward(Struct, frozen=True, tag="onward"):
    """The answer to an `Advance`: one entry for each text, in order."""

    texts: tuple[Advanced, ...]


class Value(Struct, frozen=True, tag="value"):
    """The result of a computation."""

    value: Any


class Failed(Struct, frozen=True, tag="failed"):
    """The call could not be answered; a reply, not an exception, so that others are not lost."""

    error: str
    seconds: float = 0.0
    """How long it was waited for in vain, where that was measured."""


Reply: TypeAlias = Texts | Spoken | Vectors | Onward | Value | Failed
Flow: TypeAlias = Generator[tuple[Call, ...], Sequence[Reply], T]
Send: TypeAlias = Callable[[tuple[Call, ...]], Sequence[Reply]]


def unexpected(reply: Reply) -> BackendError:
    """Return the error for a reply that is a failure or of the wrong kind."""
    if isinstance(reply, Failed):
        return BackendError(reply.error)
    return BackendError(f"unexpected reply of kind {type(reply).__name__!r}")


def generate(  # noqa: PLR0913 - the fields of the call, by name
    model: str,
    prompts: Sequence[str],
    *,
    system: str = "",
    choices: tuple[str, ...] = (),
    logprobs: int = 0,
    max_tokens: int = 256,
    raw: bool = False,
) -> Flow[Texts]:
    """Ask a model to continue each prompt; raise BackendError if it did not."""
    call = Generate(model, tuple(prompts), system, choices, logprobs, max_tokens, raw)
    [reply] = yield (call,)
    if isinstance(reply, Texts) and len(reply.texts) == len(call.prompts):
        return reply
    raise unexpected(reply)


def converse(
    model: str,
    messages: Sequence[tuple[str, str]],
    *,
    schema: str = "",
    logprobs: int = 0,
    max_tokens: int = 512,
) -> Flow[Spoken]:
    """Ask a model for the next turn of a conversation; raise BackendError if it gave none."""
    [reply] = yield (Chat(model, tuple(messages), schema, logprobs, max_tokens),)
    if isinstance(reply, Spoken):
        return reply
    raise unexpected(reply)


def classify(
    model: str,
    texts: Sequence[str],
    contexts: Sequence[str] = (),
    *,
    apart: bool = False,
    careful: bool = False,
) -> Flow[Vectors]:
    """Ask a model to score each text for its labels; raise BackendError if it did not."""
    [reply] = yield (Classify(model, tuple(texts), tuple(contexts), apart, careful),)
    if isinstance(reply, Vectors):
        return reply
    raise unexpected(reply)


def embed(model: str, texts: Sequence[str]) -> Flow[Vectors]:
    """Ask a model for the vector of each text; raise BackendError if it gave none."""
    [reply] = yield (Embed(model, tuple(texts)),)
    if isinstance(reply, Vectors):
        return reply
    raise unexpected(reply)


def advance(
    model: str, states: Sequence[Any], chunks: Sequence[str], *, ends: bool = False
) -> Flow[tuple[Advanced, ...]]:
    """Have a model read on in growing texts; raise BackendError if it did not."""
    [reply] = yield (Advance(model, tuple(states), tuple(chunks), ends),)
    if isinstance(reply, Onward) and len(reply.texts) == len(states):
        return reply.texts
    raise unexpected(reply)


def compute(function: Callable[[A], T], argument: A, *, work: int = -1) -> Flow[T]:
    """Run a pure function of one argument off the loop; `work` is its size in characters."""
    [reply] = yield (Compute(function, argument, work),)
    if isinstance(reply, Value):
        value: T = reply.value
        return value
    raise unexpected(reply)


def is_light(call: Call) -> bool:
    """Whether a call is a computation small enough to run on the event loop."""
    return isinstance(call, Compute) and 0 <= call.work <= LIGHT
