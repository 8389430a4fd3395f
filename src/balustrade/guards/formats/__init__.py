"""The published formats of guard models, one family a file; this table names them.

Each module says where its text was published. A format is pure text: it writes the prompt a model
was trained on, and says which labels may follow and what they mean, so it serves any backend that
answers `Generate` or `Classify`.

Where a snapshot's tokenizer carries a chat template of its own, ours is used all the same: a text
that is a constant here can be tested, and does not change with a download.
"""

from __future__ import annotations

FORMATS = {
    "aegis-1": "balustrade.guards.formats.aegis:AEGIS_1",
    "by-label": "balustrade.guards.formats.by_label:BY_LABEL",
    "duoguard": "balustrade.guards.formats.duoguard:DUOGUARD",
    "granite-guardian-3.0": "balustrade.guards.formats.granite_guardian:GRANITE_3_0",
    "granite-guardian-3.2": "balustrade.guards.formats.granite_guardian:GRANITE_3_2",
    "llama-guard-1": "balustrade.guards.formats.llama_guard:LLAMA_GUARD_1",
    "llama-guard-2": "balustrade.guards.formats.llama_guard:LLAMA_GUARD_2",
    "llama-guard-3": "balustrade.guards.formats.llama_guard:LLAMA_GUARD_3",
    "llama-guard-3-1b": "balustrade.guards.formats.llama_guard:LLAMA_GUARD_3_1B",
    "llama-guard-3-vision": "balustrade.guards.formats.llama_guard:LLAMA_GUARD_3_VISION",
    "llama-guard-4": "balustrade.guards.formats.llama_guard:LLAMA_GUARD_4",
    "nemotron": "balustrade.guards.formats.nemotron:NEMOTRON",
    "polyguard": "balustrade.guards.formats.polyguard:POLYGUARD",
    "prompt-guard-1": "balustrade.guards.formats.prompt_guard:PROMPT_GUARD_1",
    "prompt-guard-2": "balustrade.guards.formats.prompt_guard:PROMPT_GUARD_2",
    "qwen3guard": "balustrade.guards.formats.qwen3guard:QWEN3GUARD",
    "qwen3guard-loose": "balustrade.guards.formats.qwen3guard:QWEN3GUARD_LOOSE",
    "qwen3guard-stream": "balustrade.guards.formats.qwen3guard:QWEN3GUARD_STREAM",
    "shieldgemma": "balustrade.guards.formats.shieldgemma:SHIELDGEMMA",
    "wildguard": "balustrade.guards.formats.wildguard:WILDGUARD",
}

__all__ = ["FORMATS"]
