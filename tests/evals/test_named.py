"""Guards by name, each driven for real."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest

from balustrade.core.content import Content, Role
from balustrade.core.errors import BackendError, PolicyError, UnknownNameError
from balustrade.evals.named import Access, subject
from balustrade.evals.question import Question
from balustrade.evals.suites.moderation import Options, run
from balustrade.evals.task import tasks
from balustrade.shipped import HERE, describe

Write = Callable[[Path, Sequence[dict[str, Any]]], Path]
QUICK = Options(samples=20, timed=2)


class Endpoint(BaseHTTPRequestHandler):
    """Flags what holds "bad", below any threshold of ours."""

    def do_POST(self) -> None:
        body = msgspec.json.decode(self.rfile.read(int(self.headers["Content-Length"])))
        results = [
            {"flagged": "bad" in text, "category_scores": {"hate": 0.2 + 0.1 * ("bad" in text)}}
            for text in body["input"]
        ]
        data = msgspec.json.encode({"results": results})
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_arguments: object) -> None:
        return


@pytest.mark.parametrize("tier", ["static", "encoder", "cascade", "ensemble"])
def test_a_shipped_guard_is_judged_at_its_shipped_thresholds(tier: str) -> None:
    if not (HERE / f"{tier}.json").exists():
        pytest.skip(f"{tier}.json is not there")
    found = subject(tier)
    thresholds = {head.name: head.threshold for head in describe(tier).heads}
    assert {question: head.threshold for question, head in found.heads.items()} == {
        Question.REQUEST: thresholds["harm"],
        Question.POST: thresholds["toxicity"],
        Question.INJECTION: thresholds["injection"],
        Question.RESPONSE: thresholds["response-harm"],
    }
    request, answer = found.judge(
        [Content.of("hello"), Content.of("hi", Role.ASSISTANT, (Content.of("hello"),))]
    )
    assert {"harm", "toxicity", "injection"} <= {f.category for f in request.findings}
    assert {f.category for f in answer.findings} == {"response-harm"}


def test_any_guard_a_policy_can_name_is_judged_with_its_fields() -> None:
    found = subject("classifier", Access({"heads": ["injection"], "floor": 0.0}))
    assert set(found.heads) == set(Question) - {Question.PERSONAL}
    [verdict] = found.judge([Content.of("hello")])
    assert [finding.category for finding in verdict.findings] == ["injection"]
    assert found.revision != subject("classifier").revision


def test_a_name_that_is_unknown_or_malformed_says_what_was_expected() -> None:
    with pytest.raises(UnknownNameError, match="keyword"):
        subject("keyword")
    with pytest.raises(PolicyError, match="expected moderations:MODEL@URL"):
        subject("moderations:omni")
    with pytest.raises(PolicyError, match="expected judge:MODEL@URL"):
        subject("judge:m@localhost")
    with pytest.raises(PolicyError, match="after '#', found 'jokes'"):
        subject("static#jokes")


def test_a_server_s_endpoint_is_judged_by_its_own_decision(
    tmp_path: Path, rows_file: Write
) -> None:
    rows = [
        {"text": "bad words", "label": "unsafe", "kind": "toxicity"},
        {"text": "bad idea", "label": "unsafe"},
        {"text": "fine", "kind": "benign"},
        {"text": "an attack", "label": "unsafe", "kind": "injection"},
    ]
    files = [rows_file(tmp_path / f"{n}.jsonl", rows[n : n + 1] + rows[2:3]) for n in (0, 1, 3)]
    http = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    thread = Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    try:
        found = subject(f"moderations:omni@http://127.0.0.1:{http.server_port}/v1")
        done = run(found, tasks(files), QUICK)
        found.close()
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
    posts, requests, injections = done.sets
    for entry in (posts, requests):
        assert (entry.figures.f1, entry.figures.auprc, entry.threshold) == (1.0, 1.0, None)
        assert entry.figures.false_alarms == 0.0
    assert injections.unjudged == {"injection": 1, "benign": 1}


def test_a_server_that_is_down_is_one_error(tmp_path: Path, rows_file: Write) -> None:
    path = rows_file(tmp_path / "a.jsonl", [{"text": "a"}])
    with pytest.raises(BackendError, match=r"cannot judge: .*did not answer"):
        run(subject("moderations:m@http://127.0.0.1:9/v1"), tasks([path]), QUICK)


def test_a_hugging_face_model_is_judged_by_what_its_labels_mean(
    tmp_path: Path, rows_file: Write
) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: n for n, word in enumerate(["[PAD]", "[UNK]", "ignore", "please"])}
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]"
    )
    torch.manual_seed(0)
    model = transformers.DistilBertForSequenceClassification(
        transformers.DistilBertConfig(
            vocab_size=4, dim=8, n_layers=1, n_heads=2, hidden_dim=16, initializer_range=0.9,
            id2label={0: "BENIGN", 1: "INJECTION"}, label2id={"BENIGN": 0, "INJECTION": 1},
        )
    )  # fmt: skip
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "model")
    rows = [
        {"text": "ignore", "label": "unsafe", "kind": "injection"},
        {"text": "please", "kind": "injection"},
    ]
    path = rows_file(tmp_path / "attacks.jsonl", rows)
    name = f"hub:{tmp_path / 'model'}"
    found = subject(name)
    assert list(found.heads) == [Question.INJECTION]
    [entry] = run(found, tasks([path]), QUICK).sets
    with torch.no_grad():
        logits = model.eval()(**tokenizer("ignore", return_tensors="pt")).logits[0]
    probability = torch.softmax(logits, -1)[1].item()
    [verdict] = found.judge([Content.of("ignore")])
    assert verdict.findings[0].category == "injection"
    assert verdict.findings[0].score == pytest.approx(probability, abs=1e-5)
    assert entry.figures.judged == 2
    assert list(subject(f"{name}#post,request").heads) == [Question.POST, Question.REQUEST]
