"""Keys and tokens that open something, by the marks their issuers give them."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from collections import Counter
from collections.abc import Callable
from math import log2

from balustrade.guards.entities.entity import Candidate, Entity, always


def entropy(text: str) -> float:
    """Return the bits a character carries, by the text's own counts."""
    return -sum(n / len(text) * log2(n / len(text)) for n in Counter(text).values())


def _decoded(part: str) -> bytes:
    try:
        return urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except Base64Error:
        return b""


def _jwt(candidate: Candidate) -> float:
    try:
        header = json.loads(_decoded(candidate.text.partition(".")[0]))
    except ValueError:
        return 0.0
    return 0.98 if isinstance(header, dict) and ("alg" in header or "enc" in header) else 0.0


def _discord(candidate: Candidate) -> float:
    return 0.9 if _decoded(candidate.text.partition(".")[0]).isdigit() else 0.0


def _random(candidate: Candidate) -> float:
    """Score a token whose mark is short: what follows it must look random."""
    text = candidate.text
    mixed = any(map(str.isdecimal, text)) and any(map(str.isalpha, text))
    return 0.9 if mixed and entropy(text) > 3.2 else 0.0


def _aws_secret(candidate: Candidate) -> float:
    text = candidate.text
    mixed = text != text.lower() and text != text.upper() and any(map(str.isdecimal, text))
    return 0.9 if mixed and entropy(text) > 4 else 0.0


def _private_key(_: Candidate) -> float:
    return 0.99


def _secret(
    name: str, title: str, pattern: str, check: Callable[[Candidate], float] = always
) -> Entity:
    return Entity(name, "secret", title, pattern, check)


_W = r"[A-Za-z0-9_-]"
_A = r"[A-Za-z0-9]"
_KEY = r"[A-Z0-9 ]{0,24}PRIVATE KEY(?: BLOCK)?-----"

SECRETS = (
    _secret("jwt", "JSON web token", rf"\beyJ{_W}{{6,}}\.{_W}{{6,}}\.{_W}*", _jwt),
    _secret(
        "private-key",
        "private key",
        rf"-----BEGIN {_KEY}(?:(?:Proc-Type[^\n]*\n|\s)*(?:DEK-Info[^\n]*\n)?[^-]*-----END {_KEY}|"
        r"(?:(?:\s|\\r|\\n)*[A-Za-z0-9+/=]{20,})*)",
        _private_key,
    ),
    _secret("aws-key-id", "AWS access key", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
    _secret(
        "aws-secret",
        "AWS secret key",
        r"(?i:aws|secret)[a-zA-Z_ .-]{0,24}[\"']?\s?(?:=|:|=>)\s?[\"']?"
        r"([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)",
        _aws_secret,
    ),
    _secret(
        "github", "GitHub token", rf"\b(?:gh[pousr]_{_A}{{36,}}|github_pat_[A-Za-z0-9_]{{30,}})"
    ),
    _secret(
        "gitlab", "GitLab token", rf"\bgl(?:pat|dt|rt|ptt|soat|ft|cbt|imt|agent|oas)-{_W}{{20,}}"
    ),
    _secret(
        "slack",
        "Slack token",
        rf"\bxox[abeoprs]-[A-Za-z0-9-]{{10,}}|\bxapp-[0-9]-{_A}+-[0-9]+-{_A}+|"
        r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/]{30,}",
    ),
    _secret(
        "stripe",
        "Stripe key",
        rf"\b(?:sk|rk)_(?:live|test|prod)_{_A}{{10,}}|\bwhsec_{_A}{{24,}}",
    ),
    _secret(
        "google",
        "Google key",
        rf"\bAIza{_W}{{35}}|\bya29\.{_W}{{20,}}|\bGOCSPX-{_W}{{28}}",
    ),
    _secret(
        "openai",
        "OpenAI key",
        rf"\bsk-(?:proj|svcacct|admin|None)-{_W}{{30,}}|\bsk-{_A}{{20}}T3BlbkFJ{_A}{{20}}",
    ),
    _secret("openai", "OpenAI key", rf"\bsk-{_A}{{32,}}", _random),
    _secret("anthropic", "Anthropic key", rf"\bsk-ant-{_A}{{2,12}}-{_W}{{20,}}"),
    _secret("openrouter", "OpenRouter key", r"\bsk-or-v1-[0-9a-f]{64}"),
    _secret("huggingface", "Hugging Face token", r"\b(?:hf_|api_org_)[A-Za-z0-9]{30,}"),
    _secret("npm", "npm token", rf"\bnpm_{_A}{{36}}\b"),
    _secret("pypi", "PyPI token", rf"\bpypi-Ag(?:EIcHlwaS5vcmc|ENdGVzdC5weXBpLm9yZw){_W}{{30,}}"),
    _secret("sendgrid", "SendGrid key", rf"\bSG\.{_W}{{16,32}}\.{_W}{{32,64}}"),
    _secret("twilio", "Twilio key", r"\b(?:AC|SK)[0-9a-f]{32}\b", _random),
    _secret("mailgun", "Mailgun key", r"\bkey-[0-9a-f]{32}\b", _random),
    _secret("mailchimp", "Mailchimp key", r"\b[0-9a-f]{32}-us[0-9]{1,2}\b", _random),
    _secret(
        "azure",
        "Azure key",
        r"(?i:AccountKey|SharedAccessKey)=([A-Za-z0-9+/]{43,}={0,2})|[?&]sig=[A-Za-z0-9%+/]{43,}",
    ),
    _secret("discord", "Discord token", rf"\b[MNO]{_W}{{23,27}}\.{_W}{{6}}\.{_W}{{27,}}", _discord),
    _secret("discord", "Discord webhook", rf"discord(?:app)?\.com/api/webhooks/[0-9]+/{_W}{{40,}}"),
    _secret("telegram", "Telegram bot token", rf"\b[0-9]{{8,10}}:AA{_W}{{33}}"),
    _secret("shopify", "Shopify token", r"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}\b"),
    _secret("digitalocean", "DigitalOcean token", r"\bdo[opr]_v1_[a-f0-9]{64}\b"),
    _secret("databricks", "Databricks token", r"\bdapi[a-f0-9]{32}\b", _random),
    _secret(
        "hashicorp",
        "HashiCorp token",
        rf"\bhv[sbr]\.{_W}{{24,}}|\b{_A}{{14}}\.atlasv1\.{_W}{{60,}}",
    ),
    _secret("age", "age secret key", r"\bAGE-SECRET-KEY-1[A-Z0-9]{58}\b"),
    _secret("docker", "Docker token", rf"\bdckr_(?:pat|oat)_{_W}{{20,}}"),
    _secret("grafana", "Grafana token", r"\bgl(?:sa|c)_[A-Za-z0-9+/=_]{32,}"),
    _secret("newrelic", "New Relic key", r"\bNRAK-[A-Z0-9]{27}\b"),
    _secret("atlassian", "Atlassian token", r"\bATATT3[A-Za-z0-9_=-]{50,}"),
    _secret("notion", "Notion token", rf"\bntn_{_A}{{40,}}"),
    _secret("linear", "Linear key", rf"\blin_api_{_A}{{32,}}"),
    _secret("sentry", "Sentry token", r"\bsntry[su]_[A-Za-z0-9+/=_]{40,}"),
    _secret("rubygems", "RubyGems key", r"\brubygems_[a-f0-9]{48}\b"),
    _secret("groq", "Groq key", rf"\bgsk_{_A}{{40,}}"),
    _secret("replicate", "Replicate token", rf"\br8_{_A}{{37}}\b"),
    _secret("perplexity", "Perplexity key", rf"\bpplx-{_A}{{40,}}"),
    _secret("xai", "xAI key", rf"\bxai-{_A}{{60,}}"),
    _secret("square", "Square token", rf"\bsq0(?:atp|csp)-{_W}{{22,}}"),
    _secret("pulumi", "Pulumi token", r"\bpul-[a-f0-9]{40}\b"),
)
