"""The OpenAPI document and its page."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx

from balustrade.gateway.openapi import OPERATIONS, describe
from balustrade.gateway.routes import ROUTES


def test_the_document_names_every_endpoint_it_describes(gateway: Callable[..., str]) -> None:
    document = httpx.get(gateway() + "/openapi.json").json()

    assert document["openapi"].startswith("3.1")
    for method, path in ROUTES:
        if method == "POST":
            assert method.lower() in document["paths"][path]
    for operation in OPERATIONS:
        assert (operation.method.upper(), operation.path) in ROUTES


def test_every_reference_leads_somewhere() -> None:
    document = describe()
    names = re.findall(r"#/components/schemas/(\w+)", str(document))

    assert set(names) <= set(document["components"]["schemas"])
    required = document["components"]["schemas"]["ChatRequest"]["required"]
    assert set(required) == {"model", "messages"}


def test_the_page_needs_no_script_and_no_other_host(gateway: Callable[..., str]) -> None:
    reply = httpx.get(gateway() + "/docs")

    assert reply.headers["content-type"].startswith("text/html")
    assert "<script" not in reply.text
    assert not re.findall(r"(?:src|href)=[\"'](?:https?:)?//", reply.text)
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    for operation in OPERATIONS:
        assert operation.path in reply.text
