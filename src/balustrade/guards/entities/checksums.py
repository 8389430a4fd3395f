"""Check digits: Luhn, Verhoeff, ISO 7064, weighted sums, dates in numbers."""

from __future__ import annotations

from collections.abc import Sequence

_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_D5 = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    (1, 2, 3, 4, 0, 6, 7, 8, 9, 5),
    (2, 3, 4, 0, 1, 7, 8, 9, 5, 6),
    (3, 4, 0, 1, 2, 8, 9, 5, 6, 7),
    (4, 0, 1, 2, 3, 9, 5, 6, 7, 8),
    (5, 9, 8, 7, 6, 0, 4, 3, 2, 1),
    (6, 5, 9, 8, 7, 1, 0, 4, 3, 2),
    (7, 6, 5, 9, 8, 2, 1, 0, 4, 3),
    (8, 7, 6, 5, 9, 3, 2, 1, 0, 4),
    (9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
)
_TURN = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
_LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def luhn(number: str) -> bool:
    """Whether the last digit is right by Luhn's rule (ISO/IEC 7812-1)."""
    own = sum(map(int, number[-1::-2]))
    return (own + sum(_DOUBLED[int(digit)] for digit in number[-2::-2])) % 10 == 0


def verhoeff(number: str) -> bool:
    """Whether the last digit is right by Verhoeff's rule over the dihedral group D5."""
    check = 0
    for place, char in enumerate(reversed(number)):
        digit = int(char)
        for _ in range(place % 8):
            digit = _TURN[digit]
        check = _D5[check][digit]
    return check == 0


def mod97(text: str) -> bool:
    """Whether letters and digits leave 1 when divided by 97, the first four put last (IBAN)."""
    return int("".join(str(int(char, 36)) for char in text[4:] + text[:4])) % 97 == 1


def mod11_10(number: str) -> bool:
    """Whether the last digit is right by ISO 7064, MOD 11,10."""
    product = 10
    for char in number[:-1]:
        product = ((int(char) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(number[-1])


def weigh(number: str, weights: Sequence[int]) -> int:
    """Return the sum of the digits, each times its weight."""
    return sum(int(char) * weight for char, weight in zip(number, weights, strict=False))


def is_date(month: str, day: str) -> bool:
    """Whether there is such a day in some year."""
    return 1 <= int(month) <= 12 and 1 <= int(day) <= _LONGEST_MONTHS[int(month) - 1]
