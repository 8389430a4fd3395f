"""Formats by the names models have on the hub, and by the files in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from balustrade.core.errors import UnknownNameError
from balustrade.guards.formats.llama_guard import LLAMA_GUARD_3
from balustrade.guards.formats.recognise import format_of, recognised


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("meta-llama/LlamaGuard-7b", "llama-guard-1"),
        ("meta-llama/Meta-Llama-Guard-2-8B", "llama-guard-2"),
        ("meta-llama/Llama-Guard-3-8B", "llama-guard-3"),
        ("meta-llama/Llama-Guard-3-8B-INT8", "llama-guard-3"),
        ("meta-llama/Llama-Guard-3-1B", "llama-guard-3-1b"),
        ("meta-llama/Llama-Guard-3-11B-Vision", "llama-guard-3-vision"),
        ("meta-llama/Llama-Guard-4-12B", "llama-guard-4"),
        ("meta-llama/Prompt-Guard-86M", "prompt-guard-1"),
        ("meta-llama/Llama-Prompt-Guard-2-22M", "prompt-guard-2"),
        ("google/shieldgemma-2b", "shieldgemma"),
        ("google/shieldgemma-2-4b-it", ""),
        ("allenai/wildguard", "wildguard"),
        ("ibm-granite/granite-guardian-3.0-2b", "granite-guardian-3.0"),
        ("ibm-granite/granite-guardian-3.1-8b", "granite-guardian-3.0"),
        ("ibm-granite/granite-guardian-3.2-5b", "granite-guardian-3.2"),
        ("ibm-granite/granite-guardian-3.3-8b", ""),
        ("Qwen/Qwen3Guard-Gen-0.6B", "qwen3guard"),
        ("Qwen/Qwen3Guard-Stream-4B", "qwen3guard-stream"),
        ("DuoGuard/DuoGuard-0.5B", "duoguard"),
        ("ToxicityPrompts/PolyGuard-Qwen-Smol", "polyguard"),
        ("ToxicityPrompts/PolyGuard-Ministral", ""),
        ("nvidia/Aegis-AI-Content-Safety-LlamaGuard-Defensive-1.0", "aegis-1"),
        ("nvidia/llama-3.1-nemoguard-8b-content-safety", "nemotron"),
        ("nvidia/Llama-3.1-Nemotron-Safety-Guard-8B-v3", "nemotron"),
        ("nvidia/Nemotron-Content-Safety-Reasoning-4B", ""),
        ("unitary/toxic-bert", ""),
    ],
)
def test_a_name_on_the_hub_tells_the_format(model: str, name: str) -> None:
    assert recognised(model) == name


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"_name_or_path": "allenai/wildguard"}, "wildguard"),
        ({"architectures": ["Qwen3ForGuardModel"]}, "qwen3guard-stream"),
        ({"id2label": {"0": "BENIGN", "1": "INJECTION", "2": "JAILBREAK"}}, "prompt-guard-1"),
        ({"id2label": {"0": "BENIGN", "1": "MALICIOUS"}}, "prompt-guard-2"),
        ({"architectures": ["LlamaForCausalLM"], "hidden_size": 4}, ""),
        ([], ""),
    ],
)
def test_a_folder_s_config_tells_what_its_name_does_not(
    tmp_path: Path, config: Any, name: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    assert recognised(str(tmp_path)) == name


def test_a_folder_s_own_name_tells_first(tmp_path: Path) -> None:
    folder = tmp_path / "my-llama-guard-3-tuned"
    folder.mkdir()
    assert recognised(str(folder)) == "llama-guard-3"


def test_a_model_behind_a_server_has_the_format_it_is_given_alone() -> None:
    assert format_of("meta-llama/Llama-Guard-3-8B") is None
    assert format_of("hub:meta-llama/Llama-Guard-3-8B") is LLAMA_GUARD_3
    assert format_of("fast", "llama-guard-3") is LLAMA_GUARD_3
    with pytest.raises(UnknownNameError, match="did you mean 'llama-guard-"):
        format_of("fast", "llama-gard-3")
