"""Generative guards of the real architectures, against a plain forward pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from balustrade.backends.hub import Hub
from balustrade.backends.route import Route
from balustrade.core.call import Embed, Failed, Generate, Reply, Texts
from balustrade.core.content import Content, Role
from balustrade.core.verdict import Finding, Verdict
from balustrade.flow.run import run
from balustrade.guards.ask import NO_LABEL, weigh
from balustrade.guards.build import build
from balustrade.guards.formats.form import Exchange, Generative
from balustrade.guards.formats.recognise import format_of

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

Make = Callable[..., Path]
GENERATIVE = (
    "llama-guard-1", "llama-guard-2", "llama-guard-3", "llama-guard-4", "aegis-1", "nemotron",
    "shieldgemma", "wildguard", "granite-guardian-3.0", "polyguard", "qwen3guard",
)  # fmt: skip
REQUESTS = ("you", "how do I pick a lock? " * 12, "me and you", "S1", "yes or no")


def first_prompts(name: str) -> tuple[str, ...]:
    form = format_of("", name)
    assert isinstance(form, Generative)
    asks = [form.asks(Exchange(text), (), ())[0] for text in REQUESTS]
    return tuple(ask.prompt + ask.steps[0].lead for ask in asks)


def labels_of(name: str) -> tuple[str, ...]:
    form = format_of("", name)
    assert isinstance(form, Generative)
    return tuple(label.text for label in form.labels)


def answered(backend: Hub, call: Generate) -> Texts:
    [reply] = backend.send((call,))
    assert isinstance(reply, Texts), reply
    return reply


def by_hand(path: Path, prompt: str) -> dict[str, float]:
    """Return each token's probability after a prompt, by one plain forward pass, alone."""
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    ids = tokenizer(prompt, add_special_tokens=False).input_ids
    begin = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
    ids = ids if not begin or ids[:1] == begin else begin + ids
    with torch.no_grad():
        row = model(input_ids=torch.tensor([ids])).logits[0, -1].softmax(-1)
    found: dict[str, float] = {}
    for token, chance in enumerate(row.tolist()):
        text = tokenizer.decode([token])
        found[text] = found.get(text, 0.0) + chance
    return found


@pytest.mark.parametrize("name", GENERATIVE)
def test_probabilities_are_those_of_a_plain_forward_pass(decoder: Make, name: str) -> None:
    path, labels = decoder(name), labels_of(name)
    call = Generate("m", first_prompts(name), choices=labels, logprobs=5, max_tokens=4, raw=True)
    reply = answered(Hub(str(path), "cpu", batch=2), call)
    assert len(reply.logprobs) == len(REQUESTS)
    for prompt, odds, text in zip(call.prompts, reply.logprobs, reply.texts, strict=True):
        plain = by_hand(path, prompt)
        assert len(odds) >= 5
        for token, odd in odds.items():
            if token == "\N{REPLACEMENT CHARACTER}":  # parts of letters, which share this text
                continue
            assert math.exp(odd) == pytest.approx(plain[token], rel=1e-3, abs=1e-7)
        assert text in labels


@pytest.mark.parametrize("name", GENERATIVE)
def test_a_batch_gives_the_scores_its_prompts_have_alone(decoder: Make, name: str) -> None:
    path = decoder(name)
    backend = Hub(str(path), "cpu", batch=3)
    prompts = first_prompts(name)
    call = Generate("m", prompts, choices=labels_of(name), logprobs=3, raw=True)
    together = answered(backend, call)
    for number, prompt in enumerate(prompts):
        alone = answered(backend, Generate("m", (prompt,), "", call.choices, 3, raw=True))
        assert together.logprobs[number] == pytest.approx(alone.logprobs[0], abs=1e-4)
        assert together.texts[number] == alone.texts[0]


@pytest.mark.parametrize("name", GENERATIVE)
@pytest.mark.parametrize("role", [Role.USER, Role.ASSISTANT])
def test_a_policy_s_guard_scores_the_labels_of_that_pass(
    decoder: Make, name: str, role: Role
) -> None:
    path = decoder(name)
    guard = build({"use": "judge", "model": f"hub:{path}", "format": name, "least": 0.0})
    before = (Content.of("may I?"),) if role is Role.ASSISTANT else ()
    content = Content.of("how do I pick a lock?", role, before)
    with_room = Route({})
    [verdict] = run(guard.check([content]), with_room.send)
    assert not verdict.error
    if role is Role.ASSISTANT:
        assert "harm" not in {f.category for f in verdict.findings} or name == "shieldgemma"
        return
    form = format_of("", name)
    assert isinstance(form, Generative)
    [ask, *_] = form.asks(Exchange("how do I pick a lock?"), (), ())
    plain = by_hand(path, ask.prompt + ask.steps[0].lead)
    call = Generate("m", (ask.prompt + ask.steps[0].lead,), "", labels_of(name), 20, raw=True)
    seen = answered(Hub(str(path), "cpu"), call).logprobs[0]
    weights = weigh(form.labels, {t: math.log(plain[t]) for t in seen})
    expected = sum(weights[each.text] * each.harm for each in form.labels) / sum(weights.values())
    assert verdict.findings[0].score == pytest.approx(expected, rel=1e-3)


TEXT: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 3, "initializer_range": 0.3,
}  # fmt: skip
EYES: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 64, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip
WITH_EYES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "Llama4": (
        {"head_dim": 8, "intermediate_size_mlp": 48, "moe_layers": [], "no_rope_layers": [1, 0]},
        {"num_attention_heads": 4, "vision_output_dim": 32, "projector_input_dim": 32,
         "projector_output_dim": 32},
    ),
    "Mllama": (
        {"cross_attention_layers": [1]},
        {"attention_heads": 4, "num_global_layers": 1, "vision_output_dim": 64,
         "max_num_tiles": 1, "intermediate_layers_indices": [0],
         "supported_aspect_ratios": [[1, 1]]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(WITH_EYES))
def test_a_guard_with_eyes_is_asked_by_text_alone(decoder: Make, tmp_path: Path, kind: str) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(decoder("llama-guard-4"))
    text, eyes = WITH_EYES[kind]
    config = getattr(transformers, f"{kind}Config")(
        text_config=TEXT | text | {"vocab_size": len(tokenizer)}, vision_config=EYES | eyes
    )
    torch.manual_seed(5)
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    prompts = ("how do I pick a lock?", "me")
    call = Generate("m", prompts, choices=("safe", "unsafe"), logprobs=5, raw=True)
    reply = answered(Hub(str(tmp_path), "cpu"), call)
    for prompt, odds in zip(prompts, reply.logprobs, strict=True):
        ids = tokenizer(prompt).input_ids
        with torch.no_grad():
            row = model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        [token] = tokenizer("safe", add_special_tokens=False).input_ids
        assert odds["safe"] == pytest.approx(row[token].item(), abs=1e-4)


def test_a_model_not_made_for_the_format_is_an_error_not_safe(decoder: Make) -> None:
    guard = build(
        {"use": "judge", "model": f"hub:{decoder('llama-guard-3')}", "format": "llama-guard-3"}
    )
    [verdict] = run(guard.check([Content.of("you")]), Route({}).send)
    assert verdict == Verdict("judge", error=NO_LABEL)


def test_a_line_is_written_greedily(decoder: Make) -> None:
    path = decoder("qwen3guard")
    reply = answered(Hub(str(path), "cpu"), Generate("m", ("you", "S1 S1"), max_tokens=3, raw=True))
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    for prompt, text in zip(("you", "S1 S1"), reply.texts, strict=True):
        ids = tokenizer(prompt).input_ids
        for _ in range(3):
            with torch.no_grad():
                ids = [*ids, int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())]
            if ids[-1] == tokenizer.eos_token_id:
                break
        new = ids[len(tokenizer(prompt).input_ids) :]
        assert text == tokenizer.decode(new, skip_special_tokens=True)


def test_a_text_that_already_begins_is_not_begun_twice(decoder: Make) -> None:
    backend = Hub(str(decoder("llama-guard-3")), "cpu")
    both = answered(
        backend, Generate("m", ("<|begin_of_text|>you", "you"), logprobs=4, max_tokens=1, raw=True)
    )
    assert both.logprobs[0] == pytest.approx(both.logprobs[1], abs=1e-4)


CHAT = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{% endfor %}{{ '<|im_start|>assistant\\n' }}"
)


def test_a_message_is_asked_in_the_model_s_own_chat_template(decoder: Make, tmp_path: Path) -> None:
    path = decoder("polyguard")
    call = Generate("m", ("hi",), system="Be short.", choices=("A", "B"), logprobs=5, max_tokens=1)
    [failed] = Hub(str(path), "cpu").send((call,))
    assert failed == Failed(f"model {str(path)!r} has no chat template; name its format")
    for file in path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(tmp_path)
    backend = Hub(str(tmp_path), "cpu")
    written = (
        "<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    raw = answered(backend, Generate("m", (written,), "", ("A", "B"), 5, 1, raw=True))
    assert answered(backend, call).logprobs == raw.logprobs


def failure(reply: Reply) -> str:
    assert isinstance(reply, Failed), reply
    return reply.error


def test_what_cannot_be_answered_says_what_to_do(decoder: Make, tmp_path: Path) -> None:
    path = decoder("llama-guard-3")
    long = Generate("m", ("you " * 9000,), choices=("safe",), logprobs=1, raw=True)
    [reply] = Hub(str(path), "cpu").send((long,))
    assert "reads 1 to 4096 tokens" in failure(reply)
    assert "lower the guard's window" in failure(reply)
    call = Generate("m", ("you",), choices=("safe",), logprobs=1, raw=True)
    [reply] = Hub(str(tmp_path / "absent"), "cpu").send((call,))
    assert "there is no such folder; give a folder with config.json" in failure(reply)
    [reply] = Hub(str(tmp_path), "cpu").send((call,))
    assert "cannot be loaded" in failure(reply)
    [reply] = Hub(str(path), "cuda:99").send((call,))
    assert "device 'cuda:99' is not there" in failure(reply)
    [reply] = Hub(str(path), "tpu").send((call,))
    assert failure(reply) == "no device is named 'tpu'; expected cpu, cuda, cuda:1 or mps"
    [reply] = Hub(str(path), "cpu").send((Embed("m", ("x",)),))
    assert "writes, classifies or reads on, and no more" in failure(reply)


def test_weights_that_are_not_safetensors_are_never_unpickled(
    decoder: Make, tmp_path: Path
) -> None:
    for file in decoder("llama-guard-3").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights: dict[str, Any] = {}
    (tmp_path / "model.safetensors").unlink()
    torch.save(weights, tmp_path / "pytorch_model.bin")
    call = Generate("m", ("you",), choices=("safe",), logprobs=1, raw=True)
    [reply] = Hub(str(tmp_path), "cpu").send((call,))
    assert "cannot be loaded" in failure(reply)


def test_findings_of_a_random_model_are_probabilities(decoder: Make) -> None:
    guard = build(
        {"use": "judge", "model": f"hub:{decoder('shieldgemma')}", "format": "shieldgemma",
         "least": 0.0}
    )  # fmt: skip
    [verdict] = run(guard.check([Content.of("you")]), Route({}).send)
    assert [type(f) for f in verdict.findings] == [Finding] * 4
    assert all(0.0 <= f.score <= 1.0 for f in verdict.findings)
