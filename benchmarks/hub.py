"""Throughput of the torch backend with a decoder guard, random weights, batched by length.

    python benchmarks/hub.py --device cuda
    python benchmarks/hub.py --device cpu --texts 16
    python benchmarks/hub.py --tiny

The model is a Llama of about 1.1 billion weights (`--layers`, `--hidden`, `--vocab`), asked in the
format of Llama Guard 3 for the probability of its first token, as a policy would. Texts have
lengths drawn from a heavy-tailed mix around `--words`. One pass warms up; then each of `--rounds`
judges all texts once. Printed are texts and tokens a second, by the median of the rounds, for
batches by length and, to compare, with every text as long as the longest, which is what they would
cost if each batch held one of those.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import tokenizers
import torch
import transformers

from balustrade.backends.decoder import Decoder
from balustrade.backends.device import device_of
from balustrade.core.call import Generate
from balustrade.guards.formats.form import Exchange
from balustrade.guards.formats.llama_guard import LLAMA_GUARD_3

PROSE = "how do the people of this small town make bread when flour and time are short and every "


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    device = device_of(options.device)
    with TemporaryDirectory() as folder:
        weights = _save(Path(folder), options)
        call = _call(options)
        decoder = Decoder(folder, device, options.batch, options.tokens)
        plain = Decoder(folder, device, options.batch, options.tokens)
        lengths = [len(ids) for ids in decoder._encoded(call)]
        apart = _padded(call, decoder)
        print(f"{weights / 1e9:.2f} G weights on {device}, {torch.get_num_threads()} threads")
        print(f"{len(lengths)} prompts of {min(lengths)} to {max(lengths)} tokens")
        for name, asked, backend in (
            ("by length", call, decoder),
            ("all longest", apart, plain),
        ):
            seconds = _timed(backend, asked, options.rounds)
            tokens = sum(map(len, decoder._encoded(asked)))
            print(
                f"{name:<11}  {len(lengths) / seconds:8.2f} texts/s"
                f"  {tokens / seconds:10.0f} tokens/s"
            )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="throughput of a decoder guard")
    parser.add_argument("--device", default="")
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--words", type=int, default=60)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=16_384)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--vocab", type=int, default=128_256)
    parser.add_argument("--tiny", action="store_true", help="a small model, to try the script")
    options = parser.parse_args()
    if options.tiny:
        options.layers, options.hidden, options.vocab, options.texts = 2, 64, 2_000, 24
    return options


def _save(folder: Path, options: argparse.Namespace) -> int:
    """Write the model and a tokenizer for it; return how many weights it has."""
    raw = tokenizers.Tokenizer(tokenizers.models.BPE())
    raw.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = tokenizers.decoders.ByteLevel()
    marks = ["<pad>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=1_500,
        special_tokens=marks,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([PROSE * 9, "safe unsafe " * 9, _prompt("text")], trainer)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token=marks[0],
        bos_token=marks[1],
        eos_token=marks[4],
        model_max_length=8_192,
    ).save_pretrained(folder)
    torch.manual_seed(0)
    model: Any = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=options.vocab,
            hidden_size=options.hidden,
            intermediate_size=options.hidden * 4,
            num_hidden_layers=options.layers,
            num_attention_heads=max(options.hidden // 64, 1),
            num_key_value_heads=max(options.hidden // 256, 1),
            max_position_embeddings=8_192,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=4,
        )
    ).to(torch.bfloat16)
    model.save_pretrained(folder)
    return sum(weight.numel() for weight in model.parameters())


def _prompt(text: str) -> str:
    [ask] = LLAMA_GUARD_3.asks(Exchange(text), (), ())
    return ask.prompt + ask.steps[0].lead


def _call(options: argparse.Namespace) -> Generate:
    rng = Random(1)
    words = PROSE.split()
    counts = [
        max(4, int(rng.lognormvariate(0.0, 0.9) * options.words)) for _ in range(options.texts)
    ]
    prompts = [_prompt(" ".join(rng.choices(words, k=min(count, 2_000)))) for count in counts]
    labels = tuple(label.text for label in LLAMA_GUARD_3.labels)
    return Generate("m", tuple(prompts), choices=labels, logprobs=20, max_tokens=4, raw=True)


def _padded(call: Generate, decoder: Decoder) -> Generate:
    """Return prompts that are all as long as the longest: what padding without order costs."""
    lengths = [len(ids) for ids in decoder._encoded(call)]
    return Generate(
        "m",
        (call.prompts[lengths.index(max(lengths))],) * len(lengths),
        choices=call.choices,
        logprobs=call.logprobs,
        max_tokens=call.max_tokens,
        raw=True,
    )


def _timed(backend: Decoder, call: Generate, rounds: int) -> float:
    backend.answer(Generate("m", call.prompts[:2], choices=call.choices, logprobs=20, raw=True))
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        backend.answer(call)
        seconds.append(time.perf_counter() - start)
    return median(seconds)


if __name__ == "__main__":
    main()
