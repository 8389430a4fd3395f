"""Tell where the end of a growing text begins that may yet turn out to be disguised."""

from __future__ import annotations

import re

from balustrade.text.normalise import normalise

FURTHEST = 2048
"""Characters before the end that are looked at; a longer run is taken for what it seems so far."""

_NEAR = 64
_RUN = re.compile(r"[!-~]*")
_GAP = re.compile(r"[ \t]{0,2}|\r?\n|\n\r")
_TOKEN = re.compile(r"\S*")
_PLAIN = re.compile(r"[(\"']*(?:[A-Za-z][a-z']{2,14})[,.;:!?)\"']*\Z")
_BASE64 = re.compile(
    # The letters that ASCII text can have in base64, in fours.
    r"(?:[A-Za-f][A-HQ-Xg-nw-z0-3][ABEFIJMNQRUVYZcdghklopstwx014589][A-Za-z0-9+/_-])*"
    r"[A-Za-f]?(?:(?<=[A-Za-f])[A-HQ-Xg-nw-z0-3][ABEFIJMNQRUVYZcdghklopstwx014589]?)?\Z"
)
_BYTES = "0123456789abcdefABCDEFx"
_LAST = (re.compile(r"([0-9A-Za-z]+)[\W_]*\Z"), re.compile(r"([^\W_]+)[\W_]*\Z"))
_LONG = 60
"""Characters of a line after which an encoded run may go on in the next one."""


def unsettled(text: str) -> int:
    """Return where the run begins at the end that may yet read as something else, else its length.

    Open is the last run of ASCII characters unless it is a plain word, and before it, or before
    the gap that ends the text, whatever is short enough to be a letter set apart, a byte in
    hexadecimal, or part of a longer code.
    """
    for size in (_NEAR, FURTHEST):
        start = max(len(text) - size, 0)
        read = normalise(text[start:])
        place = _unsettled(read.text)
        if place or not start:
            break
    if place == len(read.text):
        return len(text)
    return start + read.original(place, place + 1)[0]


def _unsettled(text: str) -> int:
    mirrored = text[::-1]
    here = 0
    run = _RUN.match(mirrored)
    if run and run[0] and not _is_plain(run[0][::-1]):
        here = run.end()
    while here < len(mirrored):
        gap = _GAP.match(mirrored, here)
        token = _TOKEN.match(mirrored, gap.end() if gap else here)
        if token is None or not token[0] or not _is_loose(token[0][::-1]):
            break
        here = token.end()
    return len(text) - here


def _is_plain(run: str) -> bool:
    return bool(_PLAIN.match(run)) and not _BASE64.match(run)


def _is_loose(token: str) -> bool:
    """Whether what follows a gap may belong to the same run as the end of this token."""
    last = _LAST[0].search(token) or _LAST[1].search(token)
    return len(token) >= _LONG or last is None or len(last[1]) <= 2 or not last[1].strip(_BYTES)
