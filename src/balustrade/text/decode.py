"""Undo encodings in place: base64, hex, binary, escapes, URL encoding, numeric entities."""

from __future__ import annotations

import html
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Collection, Iterator
from urllib.parse import unquote_to_bytes

from balustrade.text.rewrite import Change, Rewritten, rewrite

_C = "[A-Za-z0-9+/_-]"
_BASE64 = re.compile(
    # Broken into lines as mail does it, which words never are, or in one line.
    rf"(?<!{_C})(?:{_C}{{60,}}(?:\r?\n{_C}{{60,}})*(?:\r?\n(?:{_C}{{20,}}|{_C}{{2,}}=))?|{_C}{{6,}})={{0,2}}"
)
_HEX = re.compile(r"(?<![0-9A-Za-z])(?:0x)?(?:[0-9a-fA-F]{2}[ :,]?){5,}(?![0-9A-Za-z])")
_BINARY = re.compile(r"(?<![0-9])(?:[01]{8} ?){3,}(?![0-9])")
_ESCAPES = re.compile(r"(?:\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\u\{[0-9a-fA-F]{1,6}\}){2,}")
_ESCAPE = re.compile(r"\\(?:x|u\{?)([0-9a-fA-F]+)\}?")
_PERCENT = re.compile(
    r"(?<![A-Za-z0-9._~+-])(?:[A-Za-z0-9._~+-]*%[0-9a-fA-F]{2}){3,}[A-Za-z0-9._~+-]*"
)
_SIGNS = re.compile(r"(?:%[0-9a-fA-F]{2})+|\+")
_ENTITY = r"&#(?:[0-9]{1,7}|[xX][0-9a-fA-F]{1,6});"
_ENTITIES = re.compile(rf"(?:{_ENTITY}[A-Za-z0-9 ]?)+{_ENTITY}")
_SHORT = 16
_LETTERS = 0.6


def decode(text: str, encodings: Collection[str]) -> Rewritten | None:
    """Return the text with every run in these encodings that hides readable text decoded."""
    return rewrite(text, _changes(text, encodings))


def _changes(text: str, encodings: Collection[str]) -> Iterator[Change]:
    for pattern, how, decoder in _DECODERS:
        if how not in encodings:
            continue
        for match in pattern.finditer(text):
            reading = decoder(match[0])
            if reading is not None and reading != match[0]:
                yield Change(*match.span(), reading, how)
    if "URL encoding" in encodings:
        yield from _signs(text)


def _signs(text: str) -> Iterator[Change]:
    for match in _PERCENT.finditer(text):
        if _percent(match[0]) is not None:
            # Only the signs are replaced, so that letters that were plain keep their places.
            for sign in _SIGNS.finditer(text, *match.span()):
                yield Change(*sign.span(), _sign(sign[0]), "URL encoding")


def _base64(run: str) -> str | None:
    body = "".join(run.split()).rstrip("=").replace("-", "+").replace("_", "/")
    if len(body) < _SHORT and not run.endswith("=") and not _looks_mixed(body):
        return None
    try:
        raw = b64decode(body[: len(body) - (len(body) % 4 == 1)] + "=" * (-len(body) % 4))
    except Base64Error:
        return None
    return readable(raw)


def _looks_mixed(body: str) -> bool:
    """Whether letters of both cases are mixed as in no word: a short run must show that."""
    return len(body) >= 12 and any(map(str.isdecimal, body)) and body[1:] != body[1:].lower()


def _hex(run: str) -> str | None:
    digits = re.sub(r"[ :,]", "", run.removeprefix("0x"))
    return readable(bytes.fromhex(digits)) if len(digits) >= 8 else None


def _binary(run: str) -> str | None:
    bits = run.replace(" ", "")
    return readable(bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)))


def _escapes(run: str) -> str | None:
    codes = [int(digits, 16) for digits in _ESCAPE.findall(run)]
    return "".join(chr(code) if code < 0x110000 else "\ufffd" for code in codes)


def _percent(run: str) -> str | None:
    return readable(unquote_to_bytes(run.replace("+", " ")))


def _sign(run: str) -> str:
    return unquote_to_bytes(run.replace("+", " ")).decode("utf-8", "replace")


def _entities(run: str) -> str | None:
    return html.unescape(run)


_DECODERS: tuple[tuple[re.Pattern[str], str, Callable[[str], str | None]], ...] = (
    (_HEX, "hexadecimal", _hex),
    (_BINARY, "binary", _binary),
    (_ESCAPES, "escape codes", _escapes),
    (_ENTITIES, "HTML entities", _entities),
    (_BASE64, "base64", _base64),
)


def readable(raw: bytes) -> str | None:
    """Return bytes as text if they are: UTF-8 or UTF-16, printable, mostly letters and spaces."""
    wide = len(raw) > 4 and raw[1::2].count(0) * 4 > len(raw)
    try:
        text = raw.decode("utf-16-le" if wide else "utf-8")
    except UnicodeDecodeError:
        return None
    visible = text.translate(_SPACES)
    if len(text) < 3 or not visible.isprintable():
        return None
    letters = sum(map(str.isalpha, visible)) + visible.count(" ")
    # What was encoded twice is as random as base64 is, so digits count where no blank is found.
    digits = sum(map(str.isalnum, visible)) + visible.count("=") + visible.count("%")
    if letters >= _LETTERS * len(text) or digits >= 0.95 * len(text):
        return text
    return text if " " in text and letters >= len(text) / 2 else None


_SPACES = {9: " ", 10: " ", 13: " "}
