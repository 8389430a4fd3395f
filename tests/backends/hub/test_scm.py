"""Stream monitors over decoders of the real architectures, against a plain forward pass."""

from __future__ import annotations

import codecs
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from balustrade.backends.hub import Hub
from balustrade.backends.route import Route
from balustrade.backends.scm import Scm, State
from balustrade.backends.tokens import Tokens
from balustrade.core.call import Advance, Advanced, Failed, Heard, Onward
from balustrade.core.content import Content, Role
from balustrade.core.errors import BackendError
from balustrade.core.verdict import Verdict
from balustrade.flow.run import run
from balustrade.guards.build import build
from balustrade.text.growing import last, whole

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

Make = Callable[..., Path]
ASKED = "how do I pick a lock?"
TEXT = "Take a wrench, yes; 爆弾は\n\nand the pick 👩‍🚀 you made. It is safe, unsafe or so."
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("Qwen2", {}),
    ("Llama", {"begin": "<bos>"}),
    ("Mistral", {"sliding_window": 8, "begin": "<bos>"}),
    ("Gemma2", {"head_dim": 8, "sliding_window": 8, "begin": "<bos>"}),
    ("GPT2", {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 4096}),
]
texts = st.lists(
    st.sampled_from(
        ["how", "to", "make", "Tee", ",", " ", " ", "\n", "爆弾は", "é", "👩‍🚀", "x" * 70]
    ),
    max_size=20,
).map("".join)
slow = settings(
    deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def engine(monitor: Make) -> Scm:
    return Scm(str(monitor()))


@pytest.fixture(scope="module")
def short(monitor: Make) -> Scm:
    """Make one whose context is soon full."""
    return Scm(str(monitor()), longest=64)


def read(engine: Scm, request: str, chunks: Sequence[str]) -> list[Heard]:
    state: Any = request
    found: list[Heard] = []
    for chunk in chunks:
        [one] = engine.read([state], [chunk])
        state = one.state
        found += one.words
    [one] = engine.read([state], [""], ends=True)
    return [*found, *one.words]


def same(one: Sequence[Heard], other: Sequence[Heard]) -> bool:
    assert [(w.start, w.end) for w in one] == [(w.start, w.end) for w in other]
    expected = pytest.approx([w.score for w in other], abs=1e-4)
    return bool([w.score for w in one] == expected)


def cut(text: str, places: set[int]) -> list[str]:
    ends = sorted(p % (len(text) + 1) for p in places)
    return [text[a:b] for a, b in pairwise([0, *ends, len(text)])]


def spelt(path: Path, text: str) -> list[list[int]]:
    tokens = Tokens(transformers.AutoTokenizer.from_pretrained(path))
    words = whole(text)
    words += last(text, words[-1].end if words else 0)
    firsts = [0, *(word.end for word in words)]
    return tokens.words([text[a : w.end] for a, w in zip(firsts, words, strict=False)])


def asked(path: Path, request: str) -> list[int]:
    return Tokens(transformers.AutoTokenizer.from_pretrained(path)).request(request)


def by_hand(path: Path, ids: list[int]) -> list[float]:
    """Return the probability of harm at each token, by one plain forward pass, without a cache."""
    from safetensors.torch import load_file

    model = transformers.AutoModel.from_pretrained(path).float().eval()
    state = load_file(path / "model.safetensors")
    with torch.no_grad():
        hidden = model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0]
        logits = hidden @ state["token_classifier.weight"].T + state["token_classifier.bias"]
        harm: list[float] = logits.softmax(-1)[:, 1].tolist()
    return harm


def highest(words: list[list[int]], scores: list[float]) -> list[float]:
    rest = iter(scores)
    return [max(next(rest) for _ in word) for word in words]


@pytest.mark.parametrize(("kind", "more"), KINDS, ids=[kind for kind, _ in KINDS])
def test_scores_are_those_of_a_plain_forward_pass(
    monitor: Make, kind: str, more: dict[str, Any]
) -> None:
    path = monitor(kind, **more)
    request, words = asked(path, ASKED), spelt(path, TEXT)
    harm = by_hand(path, [*request, *chain(*words)])[len(request) :]
    expected = highest(words, harm)
    assert max(expected) - min(expected) > 0.1
    for chunks in ([TEXT], list(TEXT)):
        found = [word.score for word in read(Scm(str(path)), ASKED, chunks)]
        assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("kind", "more"), KINDS, ids=[kind for kind, _ in KINDS])
def test_streams_of_other_lengths_in_one_batch_read_as_each_alone(
    monitor: Make, kind: str, more: dict[str, Any]
) -> None:
    engine = Scm(str(monitor(kind, **more)))
    streams = [("", "how to"), (ASKED, TEXT), ("you " * 30, TEXT * 2), ("me", "yes " * 40)]
    states: list[Any] = [request for request, _ in streams]
    heard: list[list[Heard]] = [[] for _ in streams]
    for turn in range(0, 200, 5):
        able = [n for n, (_, text) in enumerate(streams) if turn // (n + 1) < len(text)]
        chunks = [streams[n][1][turn * (n + 1) : (turn + 5) * (n + 1)] for n in able]
        for n, one in zip(able, engine.read([states[n] for n in able], chunks), strict=True):
            states[n] = one.state
            heard[n] += one.words
    for n, one in enumerate(engine.read(states, [""] * len(states), ends=True)):
        request, text = streams[n]
        sent = text[: 200 * (n + 1)]
        assert same([*heard[n], *one.words], read(engine, request, [sent]))


@slow
@given(st.lists(st.tuples(texts, texts), min_size=2, max_size=5))
def test_texts_of_one_call_read_as_each_alone(engine: Scm, cases: list[tuple[str, str]]) -> None:
    together = engine.read([q for q, _ in cases], [t for _, t in cases])
    for one, (q, t) in zip(together, cases, strict=True):
        [alone] = engine.read([q], [t])
        assert same(one.words, alone.words)


@slow
@given(texts, st.sets(st.integers(0, 400), max_size=12), texts)
def test_chunks_do_not_change_a_score(
    engine: Scm, text: str, places: set[int], request_: str
) -> None:
    assert same(read(engine, request_, cut(text, places)), read(engine, request_, [text]))


@slow
@given(texts, texts)
def test_what_follows_changes_no_score_before_it(engine: Scm, text: str, more: str) -> None:
    [one] = engine.read(["q"], [text])
    [longer] = engine.read(["q"], [text + more])
    assert same(longer.words[: len(one.words)], one.words)


def test_one_character_a_time_is_the_whole_text(engine: Scm) -> None:
    assert same(read(engine, ASKED, list(TEXT)), read(engine, ASKED, [TEXT]))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_bytes_that_split_a_letter_are_no_harm(engine: Scm, size: int) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    data = TEXT.encode()
    chunks = [decoder.decode(data[n : n + size]) for n in range(0, len(data), size)]
    assert same(read(engine, ASKED, chunks), read(engine, ASKED, [TEXT]))


def test_halves_of_characters_are_read_as_signs(engine: Scm) -> None:
    [one] = engine.read(["q"], ["yes \ud83d no "])
    assert [(word.start, word.end) for word in one.words] == [(0, 3), (4, 5), (6, 8)]


def test_another_tokenizer_writes_what_is_watched(engine: Scm) -> None:
    raw = transformers.PreTrainedTokenizerFast(
        tokenizer_object=_unlike(TEXT), clean_up_tokenization_spaces=False
    )
    ids = raw(TEXT, add_special_tokens=False).input_ids
    told = [raw.decode(ids[:n]).rstrip("\N{REPLACEMENT CHARACTER}") for n in range(len(ids) + 1)]
    deltas = [new[len(old) :] for old, new in pairwise(told)]
    assert "".join(deltas) == TEXT
    assert deltas != [" " + word for word in TEXT.split()]
    assert same(read(engine, ASKED, deltas), read(engine, ASKED, [TEXT]))


def _unlike(text: str) -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    raw = tokenizers.Tokenizer(tokenizers.models.BPE())
    raw.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([text], trainer)
    return raw


def test_the_open_word_is_not_read_until_it_ends(engine: Scm) -> None:
    [one] = engine.read(["q"], ["take a wren"])
    assert ([word.end for word in one.words], one.open) == ([4, 6], 7)
    [ended] = engine.read([one.state], ["ch"], ends=True)
    assert [(word.start, word.end) for word in ended.words] == [(7, 13)]


def test_a_state_can_be_read_on_from_twice(engine: Scm) -> None:
    [first] = engine.read([ASKED], ["take a wrench "])
    before = [part.clone() for layer in first.state.memory.layers for part in layer]
    one = engine.read([first.state], ["and go home "])
    [_, other] = engine.read([first.state, first.state], ["or do not, you ", "and go home "])
    again = engine.read([first.state], ["and go home "])
    assert same(one[0].words, other.words)
    assert one[0].words == again[0].words
    after = [part for layer in first.state.memory.layers for part in layer]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@contextmanager
def watched(engine: Scm) -> Iterator[list[tuple[int, int]]]:
    """Note of each forward pass how many texts it had, and how many new tokens at most."""
    passes: list[tuple[int, int]] = []
    engine.read(["q"], ["warm "])
    hook = engine._model._loaded.model.register_forward_pre_hook(
        lambda _module, _args, given: passes.append(tuple(given["input_ids"].shape)),
        with_kwargs=True,
    )
    try:
        yield passes
    finally:
        hook.remove()


def test_a_step_is_one_pass_over_the_new_word_however_long_the_text(engine: Scm) -> None:
    size = len(spelt(Path(engine.name), "you wrench ")[1])
    with watched(engine) as passes:
        [one] = engine.read(["q"], ["you "])
        for _ in range(80):
            [one] = engine.read([one.state], ["wrench "])
    assert passes[1:] == [(1, size)] * 80
    assert one.state.memory.seen == passes[0][1] + 80 * size


def test_texts_share_a_pass_and_what_is_not_whole_needs_none(engine: Scm) -> None:
    with watched(engine) as passes:
        read_ = engine.read(["you"] * 20, ["yes "] * 20)
        states = [one.state for one in read_]
        engine.read(states, ["wren"] * 20)
        engine.read(states, [["wrench ", "no "][n % 2] for n in range(20)])
    assert [texts for texts, _ in passes] == [20, 20]


def test_a_long_text_does_not_make_short_steps_pay_for_it(engine: Scm) -> None:
    [one] = engine.read(["q"], ["you "])
    with watched(engine) as passes:
        engine.read([one.state, ASKED * 20], ["yes ", "no "])
    assert len(passes) == 2
    assert min(passes)[1] < 16


@slow
@given(st.sets(st.integers(0, 2_000), max_size=12))
def test_chunks_do_not_matter_where_the_context_is_full(short: Scm, places: set[int]) -> None:
    text = (TEXT + " ") * 6
    assert same(read(short, ASKED, cut(text, places)), read(short, ASKED, [text]))


def test_a_full_context_goes_on_from_the_request_and_the_last_half(short: Scm) -> None:
    path = Path(short.name)
    text = "yes or no and me " * 24
    words, request = spelt(path, text.rstrip()), asked(path, "q")
    ids, own = [*chain(*words)], len(request)
    first = by_hand(path, [*request, *ids[: 64 - own]])[own:]
    then = by_hand(path, [*request, *ids[64 - own - 32 : 96 - 2 * own]])[own + 32 :]
    expected = [*first, *then]
    found = [word.score for word in read(short, "q", [text])]
    whole_words = highest(words, [*expected, *[0.0] * (len(ids) - len(expected))])
    known = sum(1 for n in range(len(words)) if sum(map(len, words[: n + 1])) <= len(expected))
    assert known < len(words)
    assert found[:known] == pytest.approx(whole_words[:known], abs=1e-4)


def test_a_text_without_end_takes_bounded_memory_and_bounded_work(short: Scm) -> None:
    [one] = short.read([ASKED], ["you "])
    count = 120
    with watched(short) as passes:
        for _ in range(count):
            [one] = short.read([one.state], ["me " + " " * 40 + "\n"])
            assert one.state.memory.seen <= 64
            assert all(part.shape[1] <= 64 for layer in one.state.memory.layers for part in layer)
            assert len(one.state.tail) <= 32
            assert len(one.state.open) <= 16
    new = sum(map(len, spelt(Path(short.name), ("me" + " " * 15 + "\n") * count)))
    assert sum(tokens for _, tokens in passes) <= 4 * new


def test_of_a_long_request_the_beginning_and_the_end_are_read(short: Scm) -> None:
    [one] = short.read(["take this " + "wrench " * 90 + "home"], ["yes "])
    ids = asked(Path(short.name), "take this " + "wrench " * 90 + "home")
    assert one.state.request == (*ids[:8], *ids[-8:])


def test_the_holistic_head_is_not_missed(monitor: Make) -> None:
    with_it, without = (Scm(str(monitor(whole=whole_))) for whole_ in (True, False))
    assert read(with_it, ASKED, [TEXT]) == read(without, ASKED, [TEXT])


def reply(path: Path | str, call: Advance | None = None) -> Any:
    [found] = Hub(str(path), "cpu").send((call or Advance("m", (ASKED,), (TEXT,)),))
    return found


def test_a_model_on_the_hub_answers_by_its_name(monitor: Make, engine: Scm) -> None:
    found = reply(monitor())
    assert isinstance(found, Onward)
    [one] = engine.read([ASKED], [TEXT])
    assert isinstance(found.texts[0], Advanced)
    assert found.texts[0].words == one.words


def test_a_reader_of_both_sides_is_refused(monitor: Make) -> None:
    sizes = {"num_key_value_heads": None, "type_vocab_size": 2}
    found = reply(monitor("Bert", **sizes))
    assert isinstance(found, Failed)
    assert "is no " in found.error
    assert "decoder" in found.error


def test_a_model_without_a_token_head_is_refused(decoder: Make) -> None:
    found = reply(decoder("polyguard"))
    assert isinstance(found, Failed)
    assert "is no stream monitor: expected a token_classifier" in found.error
    assert found.error.endswith("found none")


def test_a_head_of_other_labels_is_refused(monitor: Make, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for file in monitor().iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    weights["token_classifier.weight"] = torch.zeros(3, 32)
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    found = reply(tmp_path)
    assert isinstance(found, Failed)
    assert "(3, 32)" in found.error


def test_a_missing_model_and_foreign_states_are_failures(monitor: Make, tmp_path: Path) -> None:
    found = reply(tmp_path / "absent")
    assert isinstance(found, Failed)
    assert "there is no such folder" in found.error
    found = reply(monitor(), Advance("m", (7,), ("yes ",)))
    assert isinstance(found, Failed)
    assert "a state is not one of its own" in found.error
    found = reply(monitor(), Advance("m", ("a", "b"), ("yes ",)))
    assert isinstance(found, Failed)
    assert found.error == "2 states were given for 1 chunks"


def test_without_torch_the_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from balustrade.backends.route import Route\n"
        "from balustrade.core.call import Advance\n"
        "[reply] = Route({}).send((Advance('hub:tiny', ('q',), ('x ',)),))\n"
        "print(reply.error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "needs the module 'torch'" in done.stdout
    assert "pip install 'balustrade[torch]'" in done.stdout


def test_a_policy_s_guard_stops_a_stream_where_enough_words_are_harmful(monitor: Make) -> None:
    path = monitor()
    scores = [word.score for word in read(Scm(str(path)), ASKED, [TEXT])]
    options = {"use": "scm", "model": f"hub:{path}", "hits": 4, "words": 0, "floor": 0.0}
    guard: Any = build(options)
    answer = Content.of(TEXT, Role.ASSISTANT, (Content.of(ASKED),))
    send = Route({}).send
    [at_once] = run(guard.check([answer]), send)
    state, findings = guard.start(Content.of(ASKED)), []
    for chunk in [*TEXT, *[""] * len(scores)]:
        [(state, verdict)] = run(guard.step([state], [chunk]), send)
        findings += verdict.findings
    [verdict] = run(guard.finish([state]), send)
    findings += verdict.findings
    fourth = [sorted(scores[:n], reverse=True)[3] for n in range(4, len(scores) + 1)]
    assert isinstance(at_once, Verdict)
    assert at_once.findings[-1].score == pytest.approx(max(fourth), abs=1e-4)
    assert [f.score for f in findings] == pytest.approx(
        [f.score for f in at_once.findings], abs=1e-4
    )
    assert [f.span for f in findings] == [f.span for f in at_once.findings]


def test_a_state_that_is_none_yet_is_the_request(engine: Scm) -> None:
    [one] = engine.read([ASKED], [""])
    assert isinstance(one.state, State)
    assert (one.state.memory.seen, one.words, one.open) == (0, (), 0)
    with pytest.raises(BackendError, match="not one of its own"):
        engine.read([None], [""])  # type: ignore[list-item]  # what a caller may do wrong
