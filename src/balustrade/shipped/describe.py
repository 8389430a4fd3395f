"""What lies beside shipped weights: the heads, their calibration, their thresholds, the digest."""

from __future__ import annotations

from functools import cache
from hashlib import file_digest, sha256
from pathlib import Path

import msgspec
from msgspec import Struct

from balustrade.core.digest import digest
from balustrade.core.errors import BackendError, PolicyError

HERE = Path(__file__).parent
SHIPPED = frozenset({"static", "encoder", "cascade", "ensemble", "monitor"})
"""Names of the models in this folder."""


class Head(Struct, frozen=True):
    """One question a model answers, and how its answer is read."""

    name: str
    """A taxonomy name: what findings of this head say."""
    bias: float
    slope: float
    """Platt calibration: probability = sigmoid(slope * logit + offset)."""
    offset: float
    threshold: float
    """The shipped default, at the description's `false_alarms`."""
    thresholds: dict[str, float]
    """False-alarm rate, as written in a policy, to the probability that keeps it."""


class Language(Struct, frozen=True):
    """A language the encoder tells apart, and how its logits are moved there."""

    name: str
    offsets: tuple[float, ...]
    """Added to the logit of each head, in order, so that one threshold serves all languages."""


class Gate(Struct, frozen=True):
    """Which texts the static tier settles alone, and how high its scores of them may rise."""

    clear: dict[str, float]
    """Head to the static score from which on the encoder is asked."""
    floors: tuple[float, ...]
    """Of each head, in order: scores of settled texts stay below, thresholds do not."""
    blend: tuple[float, ...]
    """Of each head, in order: the static tier's part in the logit where the encoder is asked."""
    tiers: dict[str, str]
    """Each tier, and the digest of its description: with others the limits mean nothing."""
    asked: float = 1.0
    """Share of ordinary held-out texts that the encoder is asked about."""
    lost: float = 0.0
    """Share of what the encoder rightly finds in held-out texts that it is not asked about."""


class Stop(Struct, frozen=True):
    """When a monitor stops a stream: at the `hits`-th harmful word among the last `words`."""

    hits: int
    words: int


class Confirmed(Struct, frozen=True):
    """Thresholds of a monitor whose doubts another model must share."""

    by: str
    """The other model."""
    fingerprint: str
    """Of its description: with another one the thresholds mean nothing."""
    thresholds: dict[str, float]
    """False-alarm rate, as written in a policy, to the probability that keeps it."""


class Description(Struct, frozen=True):
    """One shipped model; enough for a guard, which never sees the weights."""

    name: str
    weights: str
    """File name of the weights, beside the description."""
    sha256: str
    """Digest of the weights; the loader refuses other bytes."""
    heads: tuple[Head, ...]
    false_alarms: float
    """The rate on harmless text that the default thresholds aim at."""
    bits: int = 0
    """Static: the table has 2**bits rows."""
    columns: tuple[str, ...] = ()
    """Static: a column for each head, in order, and last the context of an answer."""
    scales: tuple[float, ...] = ()
    """Static: what one unit of each column is worth, in logits."""
    tokenizer: str = ""
    """Encoder: file name of the vocabulary, beside the description."""
    tokenizer_sha256: str = ""
    window: int = 0
    """Encoder: tokens of a text that are read at once, marks included."""
    request: int = 0
    """Encoder: tokens of the request that an answer is read with, marks included."""
    width: int = 0
    """Encoder: numbers of a text's vector."""
    begin: int = 0
    """Encoder: the number of the mark before a text."""
    end: int = 0
    """Encoder: the number of the mark after a text."""
    languages: tuple[Language, ...] = ()
    gate: Gate | None = None
    """Cascade: its weights are the encoder's."""
    stop: Stop | None = None
    """Monitor: its rule."""
    confirmed: Confirmed | None = None
    """Monitor: its thresholds where it does not stop a stream alone."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the heads, in order."""
        return tuple(head.name for head in self.heads)

    def head(self, name: str) -> Head:
        """Return the head of that name; raise PolicyError if there is none."""
        for head in self.heads:
            if head.name == name:
                return head
        known = ", ".join(self.labels)
        raise PolicyError(f"model {self.name!r} has no head {name!r}; it has: {known}")

    def threshold_for(self, name: str, false_alarms: float) -> float:
        """Return the probability above which at most this share of harmless text is flagged.

        The rate is rounded down to one that was measured, so the promise errs on the quiet side.
        Rates for which there were too few harmless texts have no threshold.

        Raises:
            PolicyError: There is no such head, or the rate is lower than any that was measured.
        """
        return self._kept(f"head {name!r}", self.head(name).thresholds, false_alarms)

    def confirmed_for(self, model: str, false_alarms: float) -> float | None:
        """Return the same for a monitor whose doubts `model` shares; None for another model.

        Raises:
            PolicyError: The rate is lower than any that was measured.
        """
        if self.confirmed is None or self.confirmed.by != model:
            return None
        what = f"confirmed by {model!r}"
        return self._kept(what, self.confirmed.thresholds, false_alarms)

    def _kept(self, what: str, thresholds: dict[str, float], false_alarms: float) -> float:
        """Return the threshold of the highest rate that is not above the one asked for."""
        measured = sorted((float(rate), value) for rate, value in thresholds.items())
        kept = [value for rate, value in measured if rate <= false_alarms]
        if not measured:
            raise PolicyError(
                f"model {self.name!r}, {what}: no false-alarm rate was measured; "
                "give a threshold instead"
            )
        if not kept:
            raise PolicyError(
                f"model {self.name!r}, {what}: expected a false-alarm rate of at least "
                f"{measured[0][0]}, found {false_alarms}"
            )
        return kept[-1]


def describe(name: str, folder: Path = HERE) -> Description:
    """Return the description of a shipped model.

    Raises:
        BackendError: There is no such model, or its description cannot be read.
    """
    return _describe(name, folder)


def described(model: str) -> Description | None:
    """Return what is shipped about a model, or None for a model that is not."""
    return describe(model) if model in SHIPPED else None


def weights(name: str, folder: Path = HERE) -> bytes:
    """Return the bytes of a shipped model's weights.

    Raises:
        BackendError: The file is missing, or its digest is not the one described.
    """
    description = describe(name, folder)
    return checked(name, folder / description.weights, description.sha256)


def weights_at(name: str, folder: Path = HERE) -> Path:
    """Return where a shipped model's weights lie, for a runtime that maps the file itself.

    Raises:
        BackendError: The file is missing, or its digest is not the one described.
    """
    description = describe(name, folder)
    path = folder / description.weights
    try:
        with path.open("rb") as file:
            found = file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(name, path, error) from error
    _compare(name, path, found, description.sha256)
    return path


def checked(name: str, path: Path, digest: str) -> bytes:
    """Return the bytes of one of a model's files.

    Raises:
        BackendError: The file is missing, or its digest is another.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(name, path, error) from error
    _compare(name, path, sha256(data).hexdigest(), digest)
    return data


def _unreadable(name: str, path: Path, error: OSError) -> BackendError:
    return BackendError(f"model {name!r}: cannot read {path}: {error.strerror}")


def _compare(name: str, path: Path, found: str, described: str) -> None:
    if found != described:
        raise BackendError(
            f"model {name!r}: {path} has digest {found}, its description says {described}"
        )


@cache
def fingerprint(name: str, folder: Path = HERE) -> str:
    """Return the digest of what a description says, however it is laid out.

    Raises:
        BackendError: There is no such model, or its description cannot be read.
    """
    describe(name, folder)
    return digest(msgspec.json.decode((folder / f"{name}.json").read_bytes()))


@cache
def _describe(name: str, folder: Path) -> Description:
    path = folder / f"{name}.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Description)
    except OSError as error:
        raise BackendError(f"no model {name!r} is shipped: {path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise BackendError(f"model {name!r}: {path} is damaged: {error}") from error


def forget() -> None:
    """Read every description anew when it is next asked for: one was written."""
    _describe.cache_clear()
    fingerprint.cache_clear()
