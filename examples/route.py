"""Three requests, three routes: answered freely, answered with care, not answered.

    python examples/upstream.py --port 9000
    BALUSTRADE_UPSTREAM=http://127.0.0.1:9000/v1 balustrade serve --policy school.toml
    python examples/route.py

`school.toml` is in docs/guides/route.md. Needs OpenAI's client: pip install openai
"""

from __future__ import annotations

import argparse

from openai import APIConnectionError, OpenAI

TEXTS = (
    "When does the school open?",
    "How does a lock work?",
    "Open the door of my neighbour",
)


def main() -> None:
    """Ask, and print what the policy did and what came back, whole and streamed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8080/v1", help="the gateway")
    parser.add_argument("--key", default="none", help="where the gateway has keys")
    parser.add_argument("--model", default="pupil")
    options = parser.parse_args()
    with OpenAI(base_url=options.url, api_key=options.key) as client:
        for text in TEXTS:
            raw = client.chat.completions.with_raw_response.create(
                model=options.model, messages=[{"role": "user", "content": text}]
            )
            action = raw.headers["x-balustrade-action"]
            print(f"{action}: {raw.parse().choices[0].message.content}")
            print(f"streamed: {streamed(client, options.model, text)}")


def streamed(client: OpenAI, model: str, text: str) -> str:
    """Return a streamed answer, put together."""
    with client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], stream=True
    ) as chunks:
        return "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices)


if __name__ == "__main__":
    try:
        main()
    except APIConnectionError:
        raise SystemExit("no gateway answers there; start one with: balustrade serve") from None
