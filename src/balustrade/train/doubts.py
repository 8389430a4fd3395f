"""How surely a monitor and the model that shares its doubts hold a text harmful.

    python -m balustrade.train.doubts --data ../shared/data/dev \
        --parallel ../shared/data/parallel --out src/balustrade/shipped

In:   the monitor and the cascade, in `--out`; the long harmless texts and the everyday answers
      that set the monitor's thresholds.
Out:  thresholds of both together, in monitor.json.
Time: about five minutes on two CPU cores. Same weights and rows, same bytes.

Thresholds of the monitor alone say nothing of the score of both, so that one is measured itself:
the guard that serves reads held-out texts, and the model is asked where it would be asked. Whoever
makes the cascade anew runs this again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from balustrade.backends.onnx import Onnx
from balustrade.backends.recurrent import Recurrent
from balustrade.backends.route import Backend, Route
from balustrade.backends.tiers import Tiers
from balustrade.core.content import Content, Role
from balustrade.core.spec import Spec
from balustrade.flow.run import run
from balustrade.guards.scm import Scm
from balustrade.shipped import Confirmed, Description, Stop, describe, fingerprint
from balustrade.train import calm, monitor
from balustrade.train.arguments import parsed
from balustrade.train.corpus import Corpus, Sizes, late, load
from balustrade.train.manifest import write_description

OTHER = "cascade"
"""The shipped model that is asked."""
AT_ONCE = 64


class Config(Spec, frozen=True):
    """Everything the thresholds depend on, beside the weights, the data and the code."""

    data: str
    parallel: str
    out: str
    seed: int = 0


def main(config: Config) -> Description:
    """Read the texts, have both read them, write."""
    out = Path(config.out)
    how = monitor.Config(config.data, config.parallel, config.out, seed=config.seed)
    corpus = load(Path(config.data), Path(config.parallel), Sizes(seed=config.seed))
    return write(kinds(corpus, how), out, Tiers(OTHER, out))


def kinds(
    corpus: Corpus, config: monitor.Config, count: int = calm.TEXTS
) -> list[list[tuple[str, str]]]:
    """Return the texts that set the monitor's thresholds: long ones, and everyday answers."""
    known = monitor.pool([*corpus.rows, *late()], config, held=True)
    fair = known._replace(answers=[row for row in known.answers if not row.is_harmful])
    held = monitor.labelled(fair, Onnx("encoder", Path(config.out)), config)
    return [calm.long_texts(held, config.seed, count), calm.daily()]


def write(kinds: Sequence[Sequence[tuple[str, str]]], out: Path, other: Backend) -> Description:
    """Add thresholds of both to the monitor's description.

    Args:
        kinds: Requests and harmless answers, those of each kind together.
        out: Where both models lie.
        other: What answers for the model that is asked.
    """
    known = describe("monitor", out)
    assert known.stop is not None
    engine = Recurrent("monitor", out)
    both = [highs(engine, other, known.stop, texts) for texts in kinds]
    shared = Confirmed(OTHER, fingerprint(OTHER, out), calm.limits_of(*both))
    description = replace(known, confirmed=shared)
    write_description(out, description)
    return description


def highs(
    engine: Recurrent, other: Backend, stop: Stop, texts: Sequence[tuple[str, str]]
) -> list[float]:
    """Return the highest score of both that each answer to its request reaches; 0 if never asked.

    Raises:
        BackendError: A model cannot judge a text.
    """
    guard = Scm(hits=stop.hits, words=stop.words, confirm=OTHER)
    route = Route({"monitor": lambda: engine, OTHER: lambda: other})
    found: list[float] = []
    for first in range(0, len(texts), AT_ONCE):
        some = texts[first : first + AT_ONCE]
        answers = [Content.of(text, Role.ASSISTANT, (Content.of(asked),)) for asked, text in some]
        found += [
            max((finding.score for finding in verdict.findings), default=0.0)
            for verdict in run(guard.check(answers), route.send)
        ]
    return found


if __name__ == "__main__":
    main(parsed(Config, "measure the monitor and the cascade together"))
