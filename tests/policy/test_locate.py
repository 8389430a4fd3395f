"""R18: the line of a policy file that a path means."""

from __future__ import annotations

import pytest

from balustrade.policy.locate import locate

SOURCE = """\
name = "p"
refuse.message = "no"

[audit]
durable = true  # a comment

[[stage.input.guards]]
use = "keywords"

[[stage.input.guards]]
use = "patterns"
"a key" = 1

[[stage.input.rules]]
name = "one"
tests = [
  "threshold = 3",
]
inline = { threshold = 2 }

[[stage.output.rules]]
name = "two"
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("$.name", 1),
        ("$.refuse.message", 2),
        ("$.audit.durable", 5),
        ("$.stage.input.guards[0].use", 8),
        ("$.stage.input.guards[1].use", 11),
        ("$.stage.input.guards[1].a key", 12),
        ("$.stage.input.rules[0].name", 15),
        ("$.stage.input.rules[0].inline.threshold", 19),
        ("$.stage.output.rules[0].name", 22),
        ("$.stage.output.rules[0].category", 21),
        ("$.stage.output", 21),
        ("$.absent", 0),
    ],
)
def test_a_path_is_found_on_the_line_that_sets_it_or_its_nearest_parent(
    path: str, line: int
) -> None:
    assert locate(SOURCE, path) == line


def test_what_a_multi_line_string_holds_is_not_mistaken_for_a_key() -> None:
    source = 'description = """\nname = "no"\n[audit]\n"""\nname = "p"\n'
    assert locate(source, "$.name") == 5


def test_a_table_of_an_array_of_tables_belongs_to_its_last_member() -> None:
    source = "[[a]]\n[[a]]\n[a.b]\nc = 1\n"
    assert locate(source, "$.a[1].b.c") == 4


def test_an_array_inside_an_array_of_tables_counts_from_nought_for_each() -> None:
    source = "[[a]]\n[[a.b]]\nc = 1\n[[a]]\n[[a.b]]\nc = 2\n"
    assert locate(source, "$.a[1].b[0].c") == 6
