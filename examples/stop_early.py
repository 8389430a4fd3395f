"""An answer that turns harmful while it is written, stopped there and not at its end.

    python examples/upstream.py --port 9000
    BALUSTRADE_UPSTREAM=http://127.0.0.1:9000/v1 balustrade serve --policy early.toml
    python examples/stop_early.py

`early.toml` is in docs/guides/streaming.md. Needs OpenAI's client: pip install openai
"""

from __future__ import annotations

import argparse

from openai import APIConnectionError, OpenAI
from openai.types.chat import ChatCompletionChunk


def main() -> None:
    """Print a streamed answer as it comes, then why it ended, and what was decided."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8080/v1", help="the gateway")
    parser.add_argument("--key", default="none", help="where the gateway has keys")
    parser.add_argument("--model", default="turn-12", help="turns on its reader after 12 words")
    options = parser.parse_args()
    last: ChatCompletionChunk | None = None
    with (
        OpenAI(base_url=options.url, api_key=options.key) as client,
        client.chat.completions.create(
            model=options.model,
            messages=[{"role": "user", "content": "Tell me about the river."}],
            stream=True,
        ) as chunks,
    ):
        for last in chunks:
            print("".join(c.delta.content or "" for c in last.choices), end="", flush=True)
    assert last is not None
    # What is no field of OpenAI's own is kept beside them.
    decision = (last.model_extra or {}).get("balustrade", {})
    why = " ".join(filter(None, [decision.get("action"), decision.get("rule")]))
    print(f"\n({last.choices[0].finish_reason}: {why})")


if __name__ == "__main__":
    try:
        main()
    except APIConnectionError:
        raise SystemExit("no gateway answers there; start one with: balustrade serve") from None
