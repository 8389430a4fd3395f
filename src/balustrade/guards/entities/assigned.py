"""Secrets that nothing marks but the name they are given: `password=...`, user:password@host."""

from __future__ import annotations

import re

from balustrade.guards.entities.entity import Candidate, Entity
from balustrade.guards.entities.secrets import entropy

_SAMPLE = re.compile(
    r"(?i)\A(?:x{3,}|\*+|\.+|_+|-+|0+|1234(?:5(?:6(?:7(?:89?0?)?)?)?)?|"
    r"(?:my|your|the|a|an|some|new|old|test|user|admin|db|example|dummy|fake|sample|default)?[_ -]?"
    r"(?:api|access|auth|secret|client|private)?[_ -]?"
    r"(?:password|passwd|pass|pwd|secret|token|key|value|string|here|changeme|change_me|"
    r"placeholder|example|redacted|hidden|none|null|true|false|undefined|required|optional)"
    r"[_ -]?(?:here|123|1)?)\Z"
)
_REFERENCE = re.compile(
    r"[$%{<(\[]|[A-Za-z_]\w*(?:\.\w+|::\w+|->\w+|\[.*)+\Z|(?i:env|vault|secrets?|config|os|process)[.:/]"
)


def _looks_secret(value: str) -> bool:
    if _SAMPLE.match(value) or _REFERENCE.match(value) or "://" in value:
        return False
    kinds = sum(bool(re.search(kind, value)) for kind in (r"[a-z]", r"[A-Z]", r"\d", r"[^\w\s]"))
    return kinds >= 2 and any(not char.isalpha() and char not in "_-." for char in value)


def _password(candidate: Candidate) -> float:
    value = candidate.text.rstrip(".,;:!?)")
    return 0.75 if len(value) >= 5 and _looks_secret(value) and len(set(value)) > 3 else 0.0


def _key(candidate: Candidate) -> float:
    value = candidate.text.rstrip(".,;:!?)")
    if len(value) < 12 or not _looks_secret(value) or value.isdecimal():
        return 0.0
    return 0.8 if entropy(value) > 3.0 else 0.0


def _credentials(candidate: Candidate) -> float:
    value = candidate.text
    return 0.0 if _SAMPLE.match(value) or value[0] in "$%{<[:" else 0.85


def _size(text: str) -> int:
    """Return the length without a full stop or bracket that ends the sentence."""
    return len(text.rstrip(".,;:!?)"))


_ASSIGN = r"[\"']?(?:\s{0,3}(?::=|=>|==?|:|：)\s{0,3}|\s(?:is|ist|est|es)\s:?\s?)[\"'`]?"
_VALUE = r"([^\s\"'`,;<>(){}\[\]&]{5,200})"

ASSIGNED = (
    Entity(
        "password",
        "secret",
        "password",
        r"(?i:password|passwd|passwort|kennwort|passphrase|\bpwd|contraseña|mot de passe|\bsenha|"
        rf"пароль|密码|密碼|パスワード|비밀번호){_ASSIGN}{_VALUE}",
        _password,
        _size,
    ),
    Entity(
        "api-key",
        "secret",
        "key or token given a value",
        r"(?i:api[_ -]?key|access[_-]?key|secret[_-]?key|auth[_-]?token|access[_-]?token|"
        r"client[_-]?secret|app[_-]?secret|private[_-]?key|encryption[_-]?key|bearer|secret|token)"
        rf"(?:{_ASSIGN}|\s){_VALUE}",
        _key,
        _size,
    ),
    Entity(
        "url-credentials",
        "secret",
        "password in an address",
        r"\b[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/:@\"'<>]{0,100}:([^\s/@\"'<>]{3,200})@[A-Za-z0-9\[]",
        _credentials,
    ),
)
