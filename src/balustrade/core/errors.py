"""The error family: every error the product raises on purpose, one class for each who must act."""

from __future__ import annotations

from collections.abc import Iterable


class BalustradeError(Exception):
    """The root of the family; `code` names the page in docs/errors that explains it."""

    code = "error"


class PolicyError(BalustradeError):
    """A policy, configuration or rule is wrong; whoever wrote it must act."""

    code = "policy"


class UnknownNameError(PolicyError):
    """A name stands for nothing in its registry."""

    code = "unknown-name"

    def __init__(self, kind: str, name: str, close: Iterable[str] = ()) -> None:
        near = list(close)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        super().__init__(f"no {kind} is named {name!r}{hint}")


class PatternError(PolicyError):
    """A pattern cannot be matched in linear time, or is not a pattern at all."""

    code = "pattern"


class MissingExtraError(BalustradeError):
    """An optional dependency is not installed."""

    code = "missing-extra"

    def __init__(self, what: str, module: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the module {module!r}; "
            f"install it with: pip install 'balustrade[{extra}]'"
        )


class BackendError(BalustradeError):
    """A model did not answer, or not as it must; whoever runs the model must act."""

    code = "backend"


class GuardError(BalustradeError):
    """A guard broke its contract; whoever wrote the guard must act."""

    code = "guard"


class ContentError(BalustradeError):
    """Content is not of the form that was promised; whoever sent it must act."""

    code = "content"


class DataError(BalustradeError):
    """A data file cannot be read as what it claims to be."""

    code = "data"


class StoreError(BalustradeError):
    """A store cannot take or give what it must; whoever runs the store must act."""

    code = "store"


class VerificationError(BalustradeError):
    """A record does not prove what it is said to prove."""

    code = "verification"
