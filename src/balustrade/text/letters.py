"""Put letters right: leetspeak, letters set apart, ROT13, words written backward."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from balustrade.text.rewrite import Change, Rewritten, rewrite

_LEET = str.maketrans("0134578@$!|", "oieastbasii")
_TOKEN = re.compile(r"(?<![\w@$!|.:/#%&=+\\-])[A-Za-z0134578@$!|]{3,24}(?![\w@$|:/#%&=+\\-]|\.\w)")
_APART = re.compile(
    r"(?<!\w)[^\W\d_](?:(?P<gap>[ \t.\-_*|,/~•·]{1,2})[^\W\d_])(?:(?P=gap)[^\W\d_]){2,}(?!\w)"
)
_PAIRS = frozenset(
    # Pairs of letters that make up nineteen in twenty of English running text.
    re.findall(
        "[a-z]+",
        "th he in er an re nd at on nt ha es st en ed to it ou ea hi is or ti as te et ng of al "
        "de se le sa si ar ve ra ld ur ll li ro ne me no ta ri la om ma ec ic ce co us ho wh ut "
        "ke ki il ot lo we wa be so id di pa pe po pr pl sh sp ss su ai am ac ad ag ap av ay ee "
        "ef el em ep ev ex ey fa fe fi fo fr fu ff ga ge gh gi gl go gr gu ie if ig im io ip ir "
        "iv ls mb mi mo mp mu my na nc ns ob od ol oo op os ov ow oy pi rd rg rk rm rn rs rt ru "
        "ry sc sk sn tr ts tt tu tw ty ub uc ue ug ui ul um un up vi vo ba bo br bl bu by ca ch "
        "ck cl cr ct cu da do dr du ye yo ja jo ju ks kn lt ly lf lk ft gn ys ds rc rr nf nk nn "
        "ok wo wi wn xp za ze zo bi hu fl ak ab af au aw dy ew hy ix ka ko lu mm ni nu oa oc oi "
        "pp ps pt qu rl rv rw sw ua ud",
    )
)
_WORDS = re.compile(
    r"(?i)\b(?:the|and|you|your|how|what|this|that|with|for|are|is|of|to|in|make|ignore|all|"
    r"previous|instructions|prompt|system|tell|me|please|not|can|will|from|have)\b"
)
_ENOUGH = 3
_BACK = "writing backward"


def join_letters(text: str) -> Rewritten | None:
    """Return the text with leetspeak spelt out and letters set apart joined into words."""
    return rewrite(text, [*_leet(text), *_apart(text)])


def _leet(text: str) -> Iterator[Change]:
    for match in _TOKEN.finditer(text):
        token = match[0].rstrip("!|")
        if token.isalpha() or len(token) < 3 or not _is_leet(token):
            continue
        start = match.start()
        reading = token.translate(_LEET)
        if is_wordlike(reading):
            yield Change(start, start + len(token), reading, "leetspeak")


_INNER = re.compile(r"[A-Za-z](?:[0134578]{1,2}|[@$!|])[A-Za-z]")
_FIRST = re.compile(r"[013457]{1,2}[a-z]{3}")
_SIGN = re.compile(r"[@$!|]")
_ORDINARY = re.compile(
    r"(?i)w3c?s?\Z|\d+(?:st|nd|rd|th|s|k|m|g|b|am|pm|px|r?em|ex|ml|mm|cm|km|kg|mb|gb|tb|ms|x|d|fr|deg|"
    r"te[nrsm]?|ers?|days?|years?|weeks?|hours?|hrs?|mins?|secs?|meter|liter|euro|bit|bytes?)\Z"
)


def _is_leet(token: str) -> bool:
    """Whether signs stand for letters: inside the word, or a digit for its first letter."""
    if _SIGN.search(token) and not (token.islower() or token.isupper()):
        # A name and a column, two cells of a table, two sentences without a space.
        return False
    if not _INNER.search(token) and not _FIRST.match(token):
        return False
    return token[0] not in "@$!|" and not _ORDINARY.match(token)


def is_wordlike(word: str) -> bool:
    """Whether a word is made of pairs of letters that English is made of."""
    small = word.lower()
    pairs = [small[at : at + 2] for at in range(len(small) - 1)]
    return sum(pair in _PAIRS for pair in pairs) >= 0.8 * len(pairs)


def _apart(text: str) -> Iterator[Change]:
    for match in _APART.finditer(text):
        reading = match[0].replace(match["gap"], "")
        if not reading.isascii() or is_wordlike(reading):
            yield Change(*match.span(), reading, "letters set apart")


def rotate(text: str) -> Rewritten | None:
    """Return the text with its letters moved by 13, if it then reads as English and did not."""
    turned = codecs.encode(text, "rot13")
    return _if_better(text, turned, "ROT13")


def backward(text: str) -> list[Rewritten]:
    """Return the text with each word, and with all of it, read from its end, if that is English."""
    mirrored = " ".join(word[::-1] for word in text.split(" "))
    found = (_if_better(text, turned, _BACK) for turned in (mirrored, text[::-1]))
    return [rewritten for rewritten in found if rewritten is not None]


def _if_better(text: str, reading: str, how: str) -> Rewritten | None:
    before, after = len(_WORDS.findall(text)), len(_WORDS.findall(reading))
    if after < _ENOUGH or after <= 2 * before:
        return None
    # Letters change places within the text only, so the whole stands for the whole.
    whole = [Change(0, len(text), reading, how)]
    if how == "ROT13":
        return rewrite(text, whole)
    return rewrite(text, [Change(0, len(text), reading + " ", how)])
