"""A bad draft written again before anyone sees it, and the decisions that say so.

    python examples/upstream.py --port 9000
    BALUSTRADE_UPSTREAM=http://127.0.0.1:9000/v1 balustrade serve --policy polite.toml
    python examples/regenerate.py

`polite.toml` is in docs/guides/regenerate.md, and `by-sentence.toml`, under which `--stream` shows
each sentence as it leaves. Needs OpenAI's client: pip install openai
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from urllib.request import urlopen

from openai import APIConnectionError, OpenAI
from openai.types.chat import ChatCompletionMessageParam


def main() -> None:
    """Ask, print the answer, then what was decided on the way to it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8080/v1", help="the gateway")
    parser.add_argument("--key", default="none", help="where the gateway has keys")
    parser.add_argument("--model", default="rude")
    parser.add_argument("--stream", action="store_true", help="show the answer as it comes")
    options = parser.parse_args()
    with OpenAI(base_url=options.url, api_key=options.key) as client:
        print(*answer(client, options.model, stream=options.stream), sep="\n")
    with urlopen(f"{options.url}/decisions") as reply:  # noqa: S310 - the gateway's own address
        decisions = json.load(reply)["data"]
    for decision in reversed(decisions[:3]):
        print(f"{decision['stage']}: {decision['action']} {decision.get('rule', '')}".strip())


def answer(client: OpenAI, model: str, *, stream: bool) -> Iterator[str]:
    """Yield the answer, whole or in the pieces that it comes in."""
    asked: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What makes the tides?"}]
    if not stream:
        whole = client.chat.completions.create(model=model, messages=asked)
        yield whole.choices[0].message.content or ""
        return
    for chunk in client.chat.completions.create(model=model, messages=asked, stream=True):
        for choice in chunk.choices:
            if choice.delta.content:
                yield choice.delta.content


if __name__ == "__main__":
    try:
        main()
    except APIConnectionError:
        raise SystemExit("no gateway answers there; start one with: balustrade serve") from None
