"""POST /v1/moderations: OpenAI's form for the input rail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from balustrade.core.taxonomy import OPENAI_CATEGORIES

HAZARDS = """
name = "hazards"

[[stage.input.guards]]
use = "keywords"
words = ["hurtful"]
category = "hate"
name = "hate"

[[stage.input.guards]]
use = "keywords"
words = ["watched"]
category = "self-harm"
name = "watch"

[[stage.input.rules]]
name = "hate"
category = "hate"

[[stage.input.rules]]
name = "watched"
category = "self-harm"
shadow = true
"""


def moderate(url: str, given: Any) -> httpx.Response:
    return httpx.post(url + "/v1/moderations", json={"input": given}, timeout=20)


def test_hazards_set_the_categories_they_stand_for(gateway: Callable[..., str]) -> None:
    url = gateway(HAZARDS)

    answer = moderate(url, ["kind words", "a hurtful word", "watched"]).json()

    kind, hurtful, watched = answer["results"]
    assert not kind["flagged"]
    assert tuple(kind["categories"]) == tuple(kind["category_scores"]) == OPENAI_CATEGORIES
    assert {name for name, is_set in hurtful["categories"].items() if is_set} == {
        "hate",
        "harassment",
    }
    assert hurtful["category_scores"]["hate"] == 1.0
    assert hurtful["category_applied_input_types"]["hate"] == ["text"]
    assert (watched["flagged"], watched["balustrade"]["action"]) == (True, "flag")
    for result in answer["results"]:
        where = f"{url}/v1/decisions/{result['balustrade']['decision']}"
        assert httpx.get(where).status_code == 200


def test_an_input_of_several_parts_is_one_input(gateway: Callable[..., str]) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    given = [{"type": "text", "text": "a hurtful word"}, image]

    [result] = moderate(gateway(HAZARDS), given).json()["results"]

    assert result["flagged"]
    assert result["category_applied_input_types"]["hate"] == ["text"]


@pytest.mark.parametrize(
    ("given", "param"),
    [
        (None, "input"),
        (1, "input"),
        ([], "input"),
        ([1], "input[0]"),
        ([{"type": "video"}], "input[0].type"),
        ([{"type": "text"}], "input[0].text"),
        (
            [{"type": "image_url", "image_url": {"url": "http://10.0.0.1/"}}],
            "input[0].image_url.url",
        ),
        (["a"] * 2049, "input"),
    ],
)
def test_a_wrong_input_is_refused(gateway: Callable[..., str], given: Any, param: str) -> None:
    reply = moderate(gateway(), given)

    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == param
