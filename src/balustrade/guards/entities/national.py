"""Numbers that states give people, each with its own check.

Where the check alone would let through too many other numbers, the pattern asks for the number's
usual punctuation, or for its name shortly before it.
"""

from __future__ import annotations

from collections.abc import Callable

from balustrade.guards.entities.checksums import (
    is_date,
    luhn,
    mod11_10,
    verhoeff,
    weigh,
)
from balustrade.guards.entities.entity import Candidate, Entity, digits, stands_alone

_NIF = "TRWAGMYFPDXBNJZSQVHLCKE"
_CF_DIGITS = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21)
_CF_LETTERS = (*_CF_DIGITS, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
_CF_ODD = dict(
    zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", (*_CF_DIGITS, *_CF_LETTERS), strict=True)
)
_CN = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CURP = "0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ"


def _checked(rule: Callable[[str], bool], score: float = 0.9) -> Callable[[Candidate], float]:
    """Make a check of a rule over the letters and digits alone, in capitals."""

    def check(candidate: Candidate) -> float:
        if " " in candidate.text and _is_longer(candidate):
            return 0.0
        compact = "".join(filter(str.isalnum, candidate.text)).upper()
        return score if stands_alone(candidate) and rule(compact) else 0.0

    return check


def _is_longer(candidate: Candidate) -> bool:
    """Whether more groups of digits stand beside these: they are part of another number."""
    before, after = candidate.before[-2:], candidate.after[:4]
    return (before[:1].isdecimal() and before[1:] == " ") or (
        after[:1] == " " and after[1:].isdecimal()
    )


def _ssn(number: str) -> bool:
    area = number[:3]
    return (
        area not in {"000", "666"} and area < "900" and number[3:5] != "00" and number[5:] != "0000"
    )


def _nino(text: str) -> bool:
    return text[:2] not in {"BG", "GB", "NK", "KN", "TN", "NT", "ZZ"}


def _nhs(number: str) -> bool:
    return (11 - weigh(number, range(10, 1, -1)) % 11) % 11 == int(number[9])


def _sin(number: str) -> bool:
    return number[0] != "8" and luhn(number)


def _mod11_tail(number: str, weights: range, place: int) -> bool:
    rest = weigh(number, weights) % 11
    return int(number[place]) == (0 if rest < 2 else 11 - rest)


def _cpf(number: str) -> bool:
    if len(set(number)) == 1:
        return False
    return _mod11_tail(number, range(10, 1, -1), 9) and _mod11_tail(number, range(11, 1, -1), 10)


def _cnpj(number: str) -> bool:
    first, second = [5, 4, 3, 2, *range(9, 1, -1)], [6, 5, 4, 3, 2, *range(9, 1, -1)]
    for weights, place in ((first, 12), (second, 13)):
        rest = weigh(number, weights) % 11
        if int(number[place]) != (0 if rest < 2 else 11 - rest):
            return False
    return len(set(number)) > 1


def _nif(text: str) -> bool:
    return _NIF[int(text[:8]) % 23] == text[8]


def _nie(text: str) -> bool:
    return _nif(str("XYZ".index(text[0])) + text[1:])


def _codice(text: str) -> bool:
    odd = sum(_CF_ODD[char] for char in text[:15:2])
    even = sum(int(char) if char.isdecimal() else ord(char) - 65 for char in text[1:15:2])
    return chr(65 + (odd + even) % 26) == text[15]


def _nir(text: str) -> bool:
    number = text[:13].replace("2A", "19").replace("2B", "18")
    return number.isdecimal() and 97 - int(number) % 97 == int(text[13:])


def _steuer(number: str) -> bool:
    counts = sorted(map(number[:10].count, set(number[:10])))
    return counts[-1] in {2, 3} and counts.count(1) in {7, 8} and mod11_10(number)


def _bsn(number: str) -> bool:
    number = number.zfill(9)
    return (weigh(number[:8], range(9, 1, -1)) - int(number[8])) % 11 == 0 and number != "0" * 9


def _pesel(number: str) -> bool:
    if not is_date(f"{int(number[2:4]) % 20:02}", number[4:6]):
        return False
    return weigh(number, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def _personnummer(number: str) -> bool:
    short = number[-10:]
    day = int(short[4:6])
    return is_date(short[2:4], f"{day - 60 if day > 60 else day:02}") and luhn(short)


def _hetu(text: str) -> bool:
    signs = "0123456789ABCDEFHJKLMNPRSTUVWXY"
    number = digits(text[:-1])
    if not is_date(text[2:4], text[:2]) or len(number) != 9:
        return False
    return signs[int(number) % 31] == text[-1]


def _cpr(number: str) -> bool:
    return is_date(number[2:4], number[:2])


def _fodselsnummer(number: str) -> bool:
    if not is_date(number[2:4], f"{int(number[:2]) % 40:02}"):
        return False
    first = weigh(number, (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)) % 11
    return first == 0 == weigh(number, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11


def _resident(text: str) -> bool:
    return (
        is_date(text[10:12], text[12:14]) and "10X98765432"[weigh(text[:17], _CN) % 11] == text[17]
    )


def _rrn(number: str) -> bool:
    return is_date(number[2:4], number[4:6])


def _my_number(number: str) -> bool:
    rest = weigh(number, (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return int(number[11]) == (0 if rest < 2 else 11 - rest)


def _tfn(number: str) -> bool:
    weights = (1, 4, 3, 7, 5, 8, 6, 9, 10) if len(number) == 9 else (10, 7, 8, 4, 6, 3, 5, 1)
    return weigh(number, weights) % 11 == 0 and len(set(number)) > 1


def _nric(text: str) -> bool:
    total = weigh(text[1:8], (2, 7, 6, 5, 4, 3, 2)) + 4 * (text[0] in "TG") + 3 * (text[0] == "M")
    if text[0] == "M":
        return "KLJNPQRTUWX"[10 - total % 11] == text[8]
    return ("JZIHGFEDCBA" if text[0] in "ST" else "XWUTRQPNMLK")[total % 11] == text[8]


def _taiwan(text: str) -> bool:
    place = "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(text[0]) + 10
    return (place // 10 + place % 10 * 9 + weigh(text[1:], (8, 7, 6, 5, 4, 3, 2, 1, 1))) % 10 == 0


def _curp(text: str) -> bool:
    total = sum(_CURP.index(char) * (18 - place) for place, char in enumerate(text[:17]))
    return is_date(text[6:8], text[8:10]) and (10 - total % 10) % 10 == int(text[17])


def _kimlik(number: str) -> bool:
    odd, even = sum(map(int, number[0:9:2])), sum(map(int, number[1:8:2]))
    return (odd * 7 - even) % 10 == int(number[9]) and sum(map(int, number[:10])) % 10 == int(
        number[10]
    )


def _cuit(number: str) -> bool:
    rest = 11 - weigh(number, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return int(number[10]) == {11: 0, 10: 9}.get(rest, rest)


def _rut(text: str) -> bool:
    weights = [2 + place % 6 for place in range(len(text) - 1)]
    return "0K987654321"[weigh(text[-2::-1], weights) % 11] == text[-1]


def _belgian(number: str) -> bool:
    check = int(number[9:])
    return check in {97 - int(number[:9]) % 97, 97 - int("2" + number[:9]) % 97}


def _ean(number: str) -> bool:
    return weigh(number, (1, 3) * 6 + (1,)) % 10 == 0


def _snils(number: str) -> bool:
    return weigh(number, range(9, 0, -1)) % 101 % 100 == int(number[9:])


def _south_african(number: str) -> bool:
    return is_date(number[2:4], number[4:6]) and number[10] in "01" and luhn(number)


def _named(words: str, number: str) -> str:
    """Return a pattern of a number shortly after a word that names it."""
    return rf"(?i:\b(?:{words})|(?:^|\PL)(?:{words}))[^0-9\n]{{0,24}}\b({number})\b"


def _national(
    name: str, title: str, pattern: str, rule: Callable[[str], bool], score: float = 0.9
) -> Entity:
    return Entity(name, "national-id", title, pattern, _checked(rule, score))


_SSN, _SIN = "US social security number", "Canadian social insurance number"
_CPF, _AADHAAR = "Brazilian CPF", "Indian Aadhaar number"
_N9 = r"[0-9]{3}[ .-]?[0-9]{3}[ .-]?[0-9]{3}"

NATIONAL = (
    _national("us-ssn", _SSN, r"\b[0-8][0-9]{2}-[0-9]{2}-[0-9]{4}\b", _ssn),
    _national(
        "us-ssn",
        _SSN,
        _named("ssn|social security(?: number| no)?", r"[0-8][0-9]{2} ?[0-9]{2} ?[0-9]{4}"),
        _ssn,
    ),
    _national(
        "uk-nino",
        "UK national insurance number",
        r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\b",
        _nino,
    ),
    _national(
        "uk-nhs", "UK NHS number", _named("nhs", r"[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{4}"), _nhs
    ),
    _national("ca-sin", _SIN, _named("sin|social insurance|nas|assurance sociale", _N9), _sin),
    _national("br-cpf", _CPF, r"\b[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}\b", _cpf, 0.95),
    _national("br-cpf", _CPF, _named("cpf", r"[0-9]{11}"), _cpf),
    _national(
        "br-cnpj", "Brazilian CNPJ", r"\b[0-9]{2}\.[0-9]{3}\.[0-9]{3}/[0-9]{4}-[0-9]{2}\b", _cnpj
    ),
    _national("es-dni", "Spanish DNI", r"\b[0-9]{8}[ -]?[A-HJ-NP-TV-Z]\b", _nif, 0.85),
    _national("es-nie", "Spanish NIE", r"\b[XYZ][ -]?[0-9]{7}[ -]?[A-HJ-NP-TV-Z]\b", _nie),
    _national(
        "it-codice-fiscale",
        "Italian codice fiscale",
        r"\b(?i:[A-Z]{6}[0-9]{2}[A-EHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z])\b",
        _codice,
        0.95,
    ),
    _national(
        "fr-nir",
        "French NIR",
        r"\b[1-478] ?[0-9]{2} ?[0-9]{2} ?[0-9][0-9AB] ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}\b",
        _nir,
    ),
    _national(
        "de-steuer-id",
        "German tax number",
        r"\b[1-9][0-9] [0-9]{3} [0-9]{3} [0-9]{3}\b",
        _steuer,
        0.85,
    ),
    _national(
        "de-steuer-id",
        "German tax number",
        _named(
            r"steuer-?id(?:entifikationsnummer|nr|-nr)?|steuernummer|idnr|tin", r"[1-9][0-9]{10}"
        ),
        _steuer,
    ),
    _national(
        "nl-bsn",
        "Dutch BSN",
        _named(
            "bsn|burgerservicenummer|sofinummer", r"[0-9]{8,9}|[0-9]{4}[ .][0-9]{2}[ .][0-9]{3}"
        ),
        _bsn,
    ),
    _national("pl-pesel", "Polish PESEL", _named("pesel", r"[0-9]{11}"), _pesel),
    _national(
        "se-personnummer",
        "Swedish personal number",
        r"\b(?:19|20)?[0-9]{6}[-+][0-9]{4}\b",
        _personnummer,
        0.85,
    ),
    _national(
        "fi-hetu",
        "Finnish personal number",
        r"\b[0-3][0-9][01][0-9]{3}[-+A-FU-Y][0-9]{3}[0-9A-FHJ-NPR-Y]\b",
        _hetu,
    ),
    _national(
        "dk-cpr",
        "Danish CPR number",
        _named("cpr(?:-?n(?:umme)?r)?|personnummer", r"[0-3][0-9][01][0-9]{3}-?[0-9]{4}"),
        _cpr,
    ),
    _national(
        "no-fodselsnummer",
        "Norwegian birth number",
        r"\b[0-7][0-9][01][0-9]{3} ?[0-9]{5}\b",
        _fodselsnummer,
        0.8,
    ),
    _national("in-aadhaar", _AADHAAR, r"\b[2-9][0-9]{3}[ -][0-9]{4}[ -][0-9]{4}\b", verhoeff, 0.8),
    _national("in-aadhaar", _AADHAAR, _named("aadhaa?r|uidai?|आधार", r"[2-9][0-9]{11}"), verhoeff),
    _national(
        "in-pan",
        "Indian PAN",
        _named(r"pan(?: card)?(?: no| number)?", r"[A-Za-z]{5}[0-9]{4}[A-Za-z]"),
        lambda t: t[3] in "ABCFGHLJPT",
    ),
    _national(
        "cn-resident-id",
        "Chinese resident number",
        r"\b[1-9][0-9]{5}(?:18|19|20)[0-9]{2}[01][0-9][0-3][0-9]{4}[0-9Xx]\b",
        _resident,
        0.97,
    ),
    _national(
        "kr-rrn", "Korean resident number", r"\b[0-9]{2}[01][0-9][0-3][0-9]-[1-8][0-9]{6}\b", _rrn
    ),
    _national(
        "jp-my-number",
        "Japanese My Number",
        _named("my ?number|マイナンバー|個人番号", r"[0-9]{4}[ -]?[0-9]{4}[ -]?[0-9]{4}"),
        _my_number,
    ),
    _national(
        "au-tfn",
        "Australian tax file number",
        _named("tfn|tax file(?: number| no)?", r"[0-9]{2,3}[ -]?[0-9]{3}[ -]?[0-9]{3}"),
        _tfn,
    ),
    _national("sg-nric", "Singaporean NRIC", r"\b[STFGM][0-9]{7}[A-Z]\b", _nric),
    _national("tw-id", "Taiwanese identity number", r"\b[A-Z][1289][0-9]{8}\b", _taiwan, 0.8),
    _national(
        "mx-curp",
        "Mexican CURP",
        r"\b[A-Z][AEIOUX][A-Z]{2}[0-9]{6}[HMX][A-Z]{5}[A-Z0-9][0-9]\b",
        _curp,
        0.95,
    ),
    _national(
        "tr-kimlik",
        "Turkish identity number",
        _named(r"t\.?c\.?(?: kimlik)?(?: no)?|kimlik", r"[1-9][0-9]{10}"),
        _kimlik,
    ),
    _national("ar-cuit", "Argentine CUIT", r"\b(?:2[0-7]|3[034])-[0-9]{8}-[0-9]\b", _cuit),
    _national("cl-rut", "Chilean RUT", r"\b[0-9]{1,2}\.[0-9]{3}\.[0-9]{3}-[0-9kK]\b", _rut),
    _national(
        "be-rijksregister",
        "Belgian national number",
        r"\b[0-9]{2}\.[0-9]{2}\.[0-9]{2}-[0-9]{3}\.[0-9]{2}\b",
        _belgian,
    ),
    _national("ch-ahv", "Swiss AHV number", r"\b756\.?[0-9]{4}\.?[0-9]{4}\.?[0-9]{2}\b", _ean),
    _national("ru-snils", "Russian SNILS", r"\b[0-9]{3}-[0-9]{3}-[0-9]{3}[ -][0-9]{2}\b", _snils),
    _national(
        "za-id",
        "South African identity number",
        _named(r"id(?: number| no)?|identity(?: number| no)?|south african id", r"[0-9]{13}"),
        _south_african,
    ),
    _national(
        "passport",
        "passport number",
        _named(
            r"passport(?: number| no)?|passeport|reisepass|pasaporte|паспорт|护照|旅券",
            r"[A-Za-z]{0,2}[0-9]{6,9}",
        ),
        lambda text: len(set(text)) > 3,
        0.7,
    ),
)
