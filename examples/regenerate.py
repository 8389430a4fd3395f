"""A bad draft written again before anyone sees it, and the decisions that say so.

    python examples/upstream.py --port 9000
    BALUSTRADE_UPSTREAM=http://127.0.0.1:9000/v1 balustrade serve --policy polite.toml
    python examples/regenerate.py

`polite.toml` is in docs/guides/regenerate.md. Needs OpenAI's client: pip install openai
"""

from __future__ import annotations

import argparse
import json
from urllib.request import urlopen

from openai import OpenAI


def main() -> None:
    """Ask, print the answer, then what was decided on the way to it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8080/v1", help="the gateway")
    parser.add_argument("--key", default="none", help="where the gateway has keys")
    parser.add_argument("--model", default="rude")
    options = parser.parse_args()
    with OpenAI(base_url=options.url, api_key=options.key) as client:
        answer = client.chat.completions.create(
            model=options.model,
            messages=[{"role": "user", "content": "What makes the tides?"}],
        )
    print(answer.choices[0].message.content)
    with urlopen(f"{options.url}/decisions") as reply:  # noqa: S310 - the gateway's own address
        decisions = json.load(reply)["data"]
    for decision in reversed(decisions[:3]):
        print(f"{decision['stage']}: {decision['action']} {decision.get('rule', '')}".strip())


if __name__ == "__main__":
    main()
