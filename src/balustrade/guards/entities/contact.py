"""Ways to reach a person: mail addresses and telephone numbers."""

from __future__ import annotations

import re

from balustrade.guards.entities.entity import Candidate, Entity, digits, stands_alone

_FILES = frozenset(
    [
        "png",
        "jpg",
        "jpeg",
        "gif",
        "svg",
        "webp",
        "ico",
        "css",
        "js",
        "ts",
        "jsx",
        "tsx",
        "py",
        "rb",
        "go",
        "rs",
        "java",
        "json",
        "yaml",
        "yml",
        "md",
        "txt",
        "html",
        "mp4",
        "mp3",
        "pdf",
        "zip",
        "gz",
        "so",
        "dll",
        "exe",
    ]
)
_URL = re.compile(r"://\S*\Z")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_CODES = re.compile(
    r"(?:1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|"
    r"2[1-69]\d|3[578]\d|42\d|5[09]\d|6[789]\d|8[058]\d|9[679]\d)"
)
"""Country calling codes (ITU-T E.164)."""

_NATIONAL = "|".join(
    (
        r"(?:\b1[ .-])?(?:\([2-9][0-8][0-9]\) ?|\b[2-9][0-8][0-9][ .-])[2-9][0-9]{2}[ .-][0-9]{4}",
        r"\b07[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{3}",  # United Kingdom, mobile
        r"\(?\b02[0-9]\)?[ -][0-9]{4}[ -]?[0-9]{4}",  # United Kingdom, London and cities
        r"\(?\b01[0-9]{2,3}\)?[ -][0-9]{3}[ -]?[0-9]{3,4}",
        r"\b0[1-9](?:[ .-][0-9]{2}){4}",  # France
        r"\(?\b0[1-9][0-9]{1,3}\)?[ /-][1-9][0-9]{2,4}[ -]?[0-9]{3,5}",  # Germany, Austria
        r"\b01[5-7][0-9][ /-]?[0-9]{7,8}",
        r"\b[6-9][0-9]{2} [0-9]{3} [0-9]{3}",  # Spain
        r"\b3[0-9]{2}[ -][0-9]{3}[ -]?[0-9]{4}",  # Italy, mobile
        r"\(?\b[1-9][0-9]\)? ?9?[0-9]{4}-[0-9]{4}",  # Brazil
        r"\b[6-9][0-9]{4} [0-9]{5}",  # India
        r"\b1[3-9][0-9][ -]?[0-9]{4}[ -]?[0-9]{4}",  # China, mobile
        r"\b0[1-9][0-9]{0,3}-[0-9]{1,4}-[0-9]{4}",  # Japan, Korea
        r"\b04[0-9]{2}[ -][0-9]{3}[ -][0-9]{3}",  # Australia, mobile
        r"\b06[ -][0-9]{8}",  # Netherlands, mobile
        r"\b8[ -]?\(?9[0-9]{2}\)?[ -]?[0-9]{3}[ -][0-9]{2}[ -]?[0-9]{2}",  # Russia
    )
)
_WORDS = (
    r"(?i:phone|tel|telephone|mobile|cell|call|fax|whatsapp|sms|tél|téléphone|portable|telefon|"
    r"handy|rufnummer|teléfono|móvil|celular|telefone|cellulare|telefono|телефон|тел|номер|电话|"
    r"手机|電話|携帯|전화|휴대폰|फ़ोन|फोन|هاتف|جوال)"
)


def _mail(candidate: Candidate) -> float:
    local, _, domain = candidate.text.rpartition("@")
    if domain.rpartition(".")[2].lower() in _FILES or ".." in candidate.text or local == "git":
        return 0.0
    if candidate.before[-1:].isalnum():
        return 0.0
    if len(local) > 64 or local[0] == "." or _URL.search(candidate.before):
        return 0.0
    return (
        0.0 if any(not 0 < len(p) < 64 or "-" in (p[0], p[-1]) for p in domain.split(".")) else 0.97
    )


def _international(candidate: Candidate) -> float:
    number = digits(candidate.text).removeprefix("00")
    code = _CODES.match(number)
    if not code or not 8 <= len(number) <= 15 or not stands_alone(candidate):
        return 0.0
    if _DATE.match(candidate.text):
        return 0.0
    if number[0] == "1" and (len(number) != 11 or number[1] in "01"):
        return 0.0
    if candidate.text[1:].isdecimal() and len(number) < 10:
        return 0.0
    return 0.9


def _national(candidate: Candidate) -> float:
    number = digits(candidate.text)
    if not 8 <= len(number) <= 12 or not stands_alone(candidate) or len(set(number)) < 3:
        return 0.0
    if re.match(r"[ -]\d", candidate.after) or re.search(r"\d[ ,]$", candidate.before):
        return 0.0
    return 0.7


def _named(candidate: Candidate) -> float:
    number = digits(candidate.text)
    return 0.85 if 7 <= len(number) <= 15 and stands_alone(candidate) else 0.0


CONTACT = (
    Entity(
        "email",
        "email",
        "mail address",
        r"[A-Za-z0-9_%+][A-Za-z0-9._%+'-]*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,24}\b",
        _mail,
    ),
    Entity(
        "phone",
        "phone",
        "telephone number",
        r"(?:\+|\b00)[1-9](?:[ .()/-]{0,2}[0-9]){6,14}\b",
        _international,
    ),
    Entity("phone", "phone", "telephone number", rf"(?:{_NATIONAL})\b", _national),
    Entity(
        "phone",
        "phone",
        "telephone number",
        rf"{_WORDS}\S{{0,12}}[ :.#]{{0,3}}"
        r"(?:(?:is|at|est|ist|me|us|on|number|no)[ :.]{1,2}){0,2}"
        r"(\(?[0-9](?:[ .()/-]{0,2}[0-9]){6,14})\b",
        _named,
    ),
)
