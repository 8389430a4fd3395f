"""Addresses of machines: IPv4, IPv6 and MAC."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from balustrade.guards.entities.entity import Candidate, Entity

_VERSION = re.compile(r"(?i)(?:\bv|ver|version|release|build|rev|==|>=|<=|~=|@|section|§)[ :.=]*$")


def _ipv4(candidate: Candidate) -> float:
    before, after = candidate.before, candidate.after
    if (before and (before[-1] in ".-_" or before[-1].isalnum())) or _VERSION.search(before):
        return 0.0
    if after and (after[0] in "-_" or (after[:1] == "." and after[1:2].isalnum())):
        return 0.0
    try:
        address = IPv4Address(candidate.text)
    except AddressValueError:
        return 0.0
    if address.is_loopback or address.is_unspecified or address.packed[0] in {0, 255}:
        return 0.0
    # Small numbers throughout are more often a version or a section than a host.
    return 0.3 if max(address.packed) < 10 and not address.is_private else 0.85


def _ipv6(candidate: Candidate) -> float:
    before, after, text = candidate.before, candidate.after, candidate.text
    if (before and (before[-1].isalnum() or before[-1] in ":_.")) or after[:1] in set(":_("):
        return 0.0
    if sum(map(bool, text.split(":"))) < 3 or not any(map(str.isdecimal, text)):
        return 0.0
    try:
        address = IPv6Address(text)
    except AddressValueError:
        return 0.0
    return 0.0 if address.is_loopback or address.is_unspecified else 0.9


def _mac(candidate: Candidate) -> float:
    text = candidate.text
    if len({text[n] for n in range(2, 17, 3)}) > 1 or len(set(text)) < 4:
        return 0.0
    if candidate.after[:1] in set(":-_") or candidate.before[-1:] in set(":-_"):
        return 0.0
    return 0.9


HOSTS = (
    Entity("ipv4", "ip-address", "IPv4 address", r"\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b", _ipv4),
    Entity(
        "ipv6",
        "ip-address",
        "IPv6 address",
        r"(?:\b[0-9A-Fa-f]{1,4}|::[0-9A-Fa-f]{1,4})(?::{1,2}[0-9A-Fa-f]{1,4}){2,7}\b",
        _ipv6,
    ),
    Entity(
        "mac", "mac-address", "MAC address", r"\b[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}\b", _mac
    ),
)
