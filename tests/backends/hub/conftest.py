"""Guard models of the real architectures, tiny and with random weights, made here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from balustrade.guards.formats.form import Exchange, Generative
from balustrade.guards.formats.recognise import format_of

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

Make = Callable[..., Path]

MARKS = (
    "<pad>", "<bos>", "<s>", "</s>", "<|begin_of_text|>", "<|start_header_id|>",
    "<|end_header_id|>", "<|eot_id|>", "<|header_start|>", "<|header_end|>", "<|eot|>",
    "<start_of_turn>", "<end_of_turn>", "<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>",
    "<|im_start|>", "<|im_end|>", "<think>", "</think>",
)  # fmt: skip
GENERATIVE = (
    "llama-guard-1", "llama-guard-2", "llama-guard-3", "llama-guard-4", "aegis-1", "nemotron",
    "shieldgemma", "wildguard", "granite-guardian-3.0", "polyguard", "qwen3guard",
)  # fmt: skip
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 3,
    "initializer_range": 0.3,
}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-guard": ("Llama", {}),
    "aegis": ("Llama", {}),
    "nemotron": ("Llama", {}),
    "shieldgemma": ("Gemma2", {"head_dim": 8, "final_logit_softcapping": 30.0}),
    "wildguard": ("Mistral", {}),
    "granite-guardian": ("Granite", {"logits_scaling": 2.0}),
    "polyguard": ("Qwen2", {}),
    "qwen3guard": ("Qwen3", {"head_dim": 8}),
}
LLAMA_4 = {
    "head_dim": 8,
    "intermediate_size_mlp": 48,
    "interleave_moe_layer_step": 0,
    "moe_layers": [],
    "attention_chunk_size": 4096,
    "no_rope_layers": [1, 0],
}


def tokenizer_for(begin: str) -> Any:
    """Return a byte-level BPE tokenizer that has learnt the formats' own words."""
    raw = tokenizers.Tokenizer(tokenizers.models.BPE())
    raw.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = tokenizers.decoders.ByteLevel()
    words = "safe unsafe Safe Unsafe Controversial yes no Yes No n/a S1,S9 Violent Safety: "
    texts = [words * 40]
    for name in GENERATIVE:
        form = format_of("", name)
        assert isinstance(form, Generative)
        texts += [ask.prompt for ask in form.asks(Exchange("you", "me"), (), ())[:1]]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=list(MARKS),
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    if begin:
        raw.post_processor = tokenizers.processors.TemplateProcessing(
            single=f"{begin} $A", special_tokens=[(begin, raw.token_to_id(begin))]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<pad>",
        eos_token="</s>",
        bos_token=begin or None,
        model_max_length=4096,
    )


@pytest.fixture(scope="session")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Make the folder of a causal language model as a format's family has it."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            begin = {"llama-guard-3": "<|begin_of_text|>", "llama-guard-4": "<|begin_of_text|>"}
            tokenizer = tokenizer_for(begin.get(name, "" if "qwen" in name else "<bos>"))
            kind, more = next(v for key, v in KINDS.items() if name.startswith(key))
            if name == "llama-guard-4":
                kind, more = "Llama4", LLAMA_4
            config = getattr(transformers, f"{kind}{'Text' if kind == 'Llama4' else ''}Config")
            torch.manual_seed(7)
            sizes = SMALL | more | {"vocab_size": len(tokenizer)}
            model = getattr(transformers, f"{kind}ForCausalLM")(config(**sizes))
            path = tmp_path_factory.mktemp(f"tiny-{name.replace('.', '-')}")
            model.save_pretrained(path)
            tokenizer.save_pretrained(path)
            made[name] = path
        return made[name]

    return make


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Make the folder of a sequence classifier."""

    def make(kind: str, labels: list[str], **more: Any) -> Path:
        tokenizer = tokenizer_for("")
        sizes = SMALL | more | {"vocab_size": len(tokenizer)}
        names = dict(enumerate(labels))
        torch.manual_seed(3)
        config = getattr(transformers, f"{kind}Config")(
            **sizes, id2label=names, label2id={name: n for n, name in names.items()}
        )
        model = getattr(transformers, f"{kind}ForSequenceClassification")(config)
        path = tmp_path_factory.mktemp(f"tiny-{kind.lower()}")
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
        return path

    return make


@pytest.fixture(scope="session")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder as Qwen3Guard-Stream's repository is laid out."""
    import json

    from safetensors.torch import save_file

    tokenizer = tokenizer_for("")
    torch.manual_seed(11)
    config = transformers.Qwen3Config(**SMALL, head_dim=8, vocab_size=len(tokenizer))
    body = transformers.Qwen3Model(config)
    weights = {f"model.{key}": value for key, value in body.state_dict().items()}
    for prefix, kinds in (("", 8), ("query_", 9)):
        weights |= {
            f"{prefix}risk_level_category_pre.weight": torch.randn(16, 32),
            f"{prefix}risk_level_category_layernorm.weight": torch.rand(16) + 0.5,
            f"{prefix}risk_level_head.weight": torch.randn(3, 16),
            f"{prefix}category_head.weight": torch.randn(kinds, 16),
        }
    path = tmp_path_factory.mktemp("tiny-stream")
    save_file(weights, path / "model.safetensors")
    more = {
        "architectures": ["Qwen3ForGuardModel"],
        "auto_map": {"AutoModel": "modeling_qwen3_guard.Qwen3ForGuardModel"},
        "guard_inner_size": 16,
        "num_risk_level": 3,
        "num_category": 8,
        "num_query_risk_level": 3,
        "num_query_category": 9,
    }
    (path / "config.json").write_text(json.dumps(config.to_dict() | more, default=str), "utf-8")
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def monitor(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Make a folder as the stream monitors of arXiv 2506.09996 are laid out."""
    import json

    from safetensors.torch import save_file

    made: dict[str, Path] = {}

    def make(kind: str = "Qwen2", *, begin: str = "", whole: bool = True, **more: Any) -> Path:
        key = f"{kind}{begin}{whole}{more}"
        if key in made:
            return made[key]
        tokenizer = tokenizer_for(begin)
        config = getattr(transformers, f"{kind}Config")(
            **SMALL | {"vocab_size": len(tokenizer)} | more
        )
        torch.manual_seed(5)
        body = getattr(transformers, f"{kind}Model")(config)
        prefix = "transformer" if kind == "GPT2" else "bert" if kind == "Bert" else "model"
        weights = {f"{prefix}.{name}": value for name, value in body.state_dict().items()}
        weights |= {
            "token_classifier.weight": torch.randn(2, 32) * 0.3,
            "token_classifier.bias": torch.tensor([0.2, -0.1]),
        }
        if whole:
            weights["sequence_classifier.weight"] = torch.randn(2, 32)
        path = tmp_path_factory.mktemp(f"tiny-monitor-{kind.lower()}")
        save_file(weights, path / "model.safetensors", {"format": "pt"})
        more = {"architectures": ["QwenForDualTask"], "num_token_labels": 2}
        (path / "config.json").write_text(json.dumps(config.to_dict() | more, default=str), "utf-8")
        tokenizer.save_pretrained(path)
        return made.setdefault(key, path)

    return make
