"""Payment cards and bank accounts."""

from __future__ import annotations

import re

from balustrade.guards.entities.checksums import luhn, mod97
from balustrade.guards.entities.entity import Candidate, Entity, digits, stands_alone

_ISSUERS = re.compile(
    r"(?:4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|"
    r"3[47]\d{13}|3(?:0[0-5]|095|[689]\d)\d{11,16}|6(?:011|4[4-9]\d|5\d\d)\d{12,15}|62\d{14,17}|"
    r"35(?:2[89]|[3-8]\d)\d{12,15}|(?:50|5[6-9]|6[37]|60|81|82)\d{10,17}|220[0-4]\d{12,15}|"
    r"9792\d{12})\Z"
)
"""Visa, Mastercard, American Express, Diners, Discover, UnionPay, JCB, Maestro, RuPay, Mir."""

_LENGTHS = {
    name: int(size)
    for size, names in {
        "15": "NO",
        "16": "BE",
        "18": "DK FI FO GL NL SD",
        "19": "MK SI",
        "20": "AT BA EE KZ LT LU MN XK",
        "21": "CH CR HR LI LV",
        "22": "BG BH DE GB GE IE ME RS VA",
        "23": "AE GI IL IQ OM SO TL",
        "24": "AD CZ ES MD PK RO SA SE SK TN VG",
        "25": "LY PT ST",
        "26": "IS TR",
        "27": "BI DJ FR GR IT MC MR SM",
        "28": "AL AZ BY CY DO GT HU LB NI PL SV",
        "29": "BR EG PS QA UA",
        "30": "JO KW MU",
        "31": "MT SC",
        "32": "LC",
        "33": "RU",
    }.items()
    for name in names.split()
}
"""Length of an IBAN by country (SWIFT's registry)."""


def _card(candidate: Candidate) -> float:
    number = digits(candidate.text)
    if not _ISSUERS.match(number) or not luhn(number) or len(set(number)) < 2:
        return 0.0
    return 0.95 if stands_alone(candidate) else 0.0


def _iban_size(text: str) -> int:
    """Return where the account ends: a word in capitals may follow it."""
    wanted = _LENGTHS.get(text[:2], 0)
    for place, char in enumerate(text):
        wanted -= char != " "
        if wanted == 0:
            return place + 1
    return 0


def _iban(candidate: Candidate) -> float:
    compact = candidate.text.replace(" ", "")
    if not compact or candidate.after[:1].isalnum() or not mod97(compact):
        return 0.0
    return 0.98


FINANCE = (
    Entity(
        "card",
        "card",
        "payment card number",
        r"\b(?:[2-9][0-9]{3}(?:[ -]?[0-9]{4}){3}|3[47][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{5}|"
        r"3[0689][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{4}|[2-9][0-9]{11,18})\b",
        _card,
    ),
    Entity(
        "iban",
        "iban",
        "bank account (IBAN)",
        r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b",
        _iban,
        _iban_size,
    ),
)
