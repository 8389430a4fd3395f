"""R24: a policy's revision changes if and only if its meaning can."""

from __future__ import annotations

from balustrade.policy.load import loads

POLICY = """
name = "p"
[[stage.input.guards]]
use = "keywords"
words = ["x"]
[[stage.input.rules]]
name = "one"
category = "a"
[[stage.input.rules]]
name = "two"
category = "b"
action = "flag"
"""


def test_spelling_order_and_comments_do_not_change_the_revision() -> None:
    respelt = """
# a comment
name = 'p'
description = "for people"
[stage.input]
rules = [{name = "two", category = "b", action = "flag"}, {category = "a", name = "one"}]
guards = [{words = ["x"], use = "keywords"}]
[[tests]]
text = "x"
expect = "block"
"""
    assert loads(respelt).revision == loads(POLICY).revision


def test_every_change_of_meaning_changes_the_revision() -> None:
    changes = [
        ('category = "a"', 'category = "c"'),
        ('action = "flag"', 'action = "block"'),
        ('words = ["x"]', 'words = ["y"]'),
        ('name = "p"', 'name = "p"\non_error = "allow"'),
        ('name = "p"', 'name = "p"\ntimeout = 1.0'),
        ('name = "one"', 'name = "one"\nthreshold = 0.4'),
    ]
    revisions = [loads(POLICY.replace(*change, 1)).revision for change in changes]
    assert len({loads(POLICY).revision, *revisions}) == len(changes) + 1
