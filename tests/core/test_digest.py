from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from balustrade.core.content import Content
from balustrade.core.digest import canonical, digest

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), values))
def test_the_order_of_keys_does_not_change_a_digest(value: dict[str, object]) -> None:
    assert digest(value) == digest(dict(reversed(value.items())))


@given(values, values)
def test_different_bytes_have_different_digests(one: object, other: object) -> None:
    assert (digest(one) == digest(other)) == (canonical(one) == canonical(other))


def test_a_digest_is_the_sha256_of_the_canonical_json() -> None:
    assert digest({"b": 1, "a": [True, None]}) == (
        "51705a2c9eb3e7e410a58f696a770c3ac3885a0cf43eb7fc88f5e47c11d4d30d"
    )
    assert digest(Content.of("x")) == digest(Content.of("x"))
