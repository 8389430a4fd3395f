from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import urlsafe_b64encode
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balustrade.backends import local
from balustrade.core.content import Content, ToolCall
from balustrade.core.errors import PatternError, UnknownNameError
from balustrade.flow.run import run
from balustrade.guards.entities import NAMES
from balustrade.guards.entities.checksums import luhn, mod97, verhoeff
from balustrade.guards.entities.scan import CANDIDATES
from balustrade.guards.patterns import CustomPattern, Patterns

ALL = Patterns()
KEY = "Zk3x9QpL0vBn7TtRaW2yHc5uJd8eGf4M6sKqXbPr1iNoVzEw"
DIGITS = "7203948561029384756102938475"
HEX = "3f9a1c07e5b2d846" * 4


def found(text: str, guard: Patterns = ALL) -> list[tuple[str, str]]:
    [verdict] = run(guard.check([Content.of(text)]), local.send)
    return [
        (finding.category, text[finding.span.start : finding.span.end])
        for finding in verdict.findings
        if finding.span is not None
    ]


def token(*claims: dict[str, str]) -> str:
    parts = [urlsafe_b64encode(json.dumps(claim).encode()).decode().rstrip("=") for claim in claims]
    return ".".join((*parts, KEY[:43]))


PEM = "-----BEGIN {0}PRIVATE KEY-----\n" + f"{KEY}\n{KEY}\n" + "-----END {0}PRIVATE KEY-----"

SECRETS = {
    "jwt": token({"alg": "HS256", "typ": "JWT"}, {"sub": "1"}),
    "private key": PEM.format("RSA "),
    "openssh key": PEM.format("OPENSSH "),
    "aws": "AKIA" + "IOSFODNN7EXAMPLE",
    "github": "ghp_" + KEY[:36],
    "github fine": "github_pat_" + KEY[:22] + "_" + KEY[:40],
    "gitlab": "glpat-" + KEY[:20],
    "slack": "xoxb-" + DIGITS[:12] + "-" + KEY[:24],
    "stripe": "sk_" + "live_" + KEY[:24],
    "google": "AIza" + KEY[:35],
    "openai": "sk-" + "proj-" + KEY,
    "openai old": "sk-" + KEY[:20] + "T3BlbkFJ" + KEY[20:40],
    "anthropic": "sk-ant-" + "api03-" + KEY,
    "hugging face": "hf_" + "QpLvBnTtRaWyHcuJdeGfMsKqXbPriNoVzE",
    "npm": "npm_" + KEY[:36],
    "pypi": "pypi-" + "AgEIcHlwaS5vcmc" + KEY,
    "sendgrid": "SG." + KEY[:22] + "." + KEY[:43],
    "twilio": "SK" + HEX[:32],
    "telegram": DIGITS[:10] + ":AA" + KEY[:33],
    "digitalocean": "dop_v1_" + HEX,
    "hashicorp": "hvs." + KEY[:28],
    "shopify": "shpat_" + HEX[:32],
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_secret_is_found_whole_wherever_it_stands(secret: str) -> None:
    for text in (secret, f"use {secret} please", f'{{"é": "{secret}"}}'):
        assert found(text) == [("secret", secret)]


IDENTITIES = {
    "us-ssn": "078-05-1120",
    "uk-nino": "AB 12 34 56 C",
    "br-cpf": "529.982.247-25",
    "br-cnpj": "11.222.333/0001-81",
    "es-dni": "12345678Z",
    "es-nie": "X1234567L",
    "it-codice-fiscale": "RSSMRA85T10A562S",
    "fr-nir": "1 85 05 78 006 084 91",
    "se-personnummer": "811218-9876",
    "fi-hetu": "131052-308T",
    "no-fodselsnummer": "01010750160",
    "in-aadhaar": "2341 2341 2346",
    "cn-resident-id": "11010519491231002X",
    "kr-rrn": "900101-1234567",
    "sg-nric": "S1234567D",
    "tw-id": "A123456789",
    "mx-curp": "HEGG560427MVZRRL04",
    "ar-cuit": "20-12345678-6",
    "cl-rut": "12.345.678-5",
    "be-rijksregister": "85.07.30-033.28",
    "ch-ahv": "756.9217.0769.85",
    "ru-snils": "112-233-445 95",
}
NAMED = {
    "us-ssn": "SSN: {078051120}",
    "ca-sin": "my SIN is {046 454 286}",
    "br-cpf": "CPF {52998224725}",
    "de-steuer-id": "Steuer-ID: {86095742719}",
    "nl-bsn": "BSN {111222333}",
    "pl-pesel": "PESEL: {44051401359}",
    "in-aadhaar": "Aadhaar no {234123412346}",
    "jp-my-number": "マイナンバー {1234-5678-9018}",
    "au-tfn": "TFN: {123 456 782}",
    "tr-kimlik": "TC kimlik no {10000000146}",
    "passport": "passport no. {C01X00T47}",
}


@pytest.mark.parametrize(("name", "number"), IDENTITIES.items(), ids=IDENTITIES)
def test_an_identity_number_is_found_and_a_wrong_check_is_not(name: str, number: str) -> None:
    guard = Patterns(entities=(name,))
    assert found(f"the number is {number}, thanks", guard) == [("national-id", number)]


CHECKED = [n for n in IDENTITIES if n not in {"us-ssn", "uk-nino", "kr-rrn"}]


@pytest.mark.parametrize("name", CHECKED)
def test_r9_most_numbers_of_the_right_form_fail_their_check(name: str) -> None:
    number, guard = IDENTITIES[name], Patterns(entities=(name,))
    places = [place for place, char in enumerate(number) if char.isdecimal()][-6:-1]
    wrong = 0
    for place, digit in product(places, "0123456789"):
        changed = number[:place] + digit + number[place + 1 :]
        wrong += not found(changed, guard)
    assert wrong >= 35


@pytest.mark.parametrize(("name", "text"), NAMED.items(), ids=NAMED)
def test_a_weak_number_is_found_only_beside_its_name(name: str, text: str) -> None:
    number = text[text.index("{") + 1 : text.index("}")]
    guard = Patterns(entities=(name,))
    if name != "passport":
        assert found(text.replace("{", "").replace("}", ""), guard) == [("national-id", number)]
    assert found(f"order {number.replace('-', '').replace(' ', '')} shipped", guard) == []


@pytest.mark.parametrize(
    ("text", "category", "value"),
    [
        ("write to ann.smith+x@mail.example.org.", "email", "ann.smith+x@mail.example.org"),
        ("<bob@x.io>", "email", "bob@x.io"),
        ("call +1 (202) 555-0143 now", "phone", "+1 (202) 555-0143"),
        ("+44 20 7946 0958", "phone", "+44 20 7946 0958"),
        ("ruf +49 30 901820 an", "phone", "+49 30 901820"),
        ("(415) 555-2671", "phone", "(415) 555-2671"),
        ("06 12 34 56 78", "phone", "06 12 34 56 78"),
        ("电话：13812345678", "phone", "13812345678"),
        ("tel: 555-1234", "phone", "555-1234"),
        ("card 4111 1111 1111 1111 exp 12/26", "card", "4111 1111 1111 1111"),
        ("378282246310005", "card", "378282246310005"),
        ("6011-1111-1111-1117", "card", "6011-1111-1111-1117"),
        ("DE89 3704 0044 0532 0130 00 AND MORE", "iban", "DE89 3704 0044 0532 0130 00"),
        ("GB29NWBK60161331926819", "iban", "GB29NWBK60161331926819"),
        ("from 203.0.113.9 port 22", "ip-address", "203.0.113.9"),
        ("at 2001:db8::ff00:42:8329.", "ip-address", "2001:db8::ff00:42:8329"),
        ("mac 00:1B:44:11:3A:B7", "mac-address", "00:1B:44:11:3A:B7"),
        ("password: hunter2", "secret", "hunter2"),
        ("Passwort ist Xk9!fr3i", "secret", "Xk9!fr3i"),
        ("API_KEY='" + KEY[:20] + "'", "secret", KEY[:20]),
        ("postgres://bob:s3cr3tpw@db.example.com/x", "secret", "s3cr3tpw"),
    ],
)
def test_a_thing_is_found_exactly_where_it_stands(text: str, category: str, value: str) -> None:
    assert found(text) == [(category, value)]
    assert found("日本é😀 " + text) == [(category, value)]


HARMLESS = (
    "commit d41d8cd98f00b204e9800998ecf8427e 2fd4e1c67a2d28fced849ee1bb76e7391b93eb12",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "id 550e8400-e29b-41d4-a716-446655440000, 6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    "2024-05-06T10:30:00.123456789Z 2024-05-06 10:30:00,123 [INFO] took 12.345 ms pid 48213",
    "06/05/2024, 6. Mai 2024, 10:30:59, Q2 2024, week 18, 1,234,567.89 and 0.1234567890123456",
    "version 1.2.3.4 v10.0.19041.1234 python==3.11.4 node@18.17.1 (build 20240506.12)",
    "def f(x: int) -> None: return self.password == other.password and token is None",
    'password = os.environ["DB_PASSWORD"]; api_key = get_secret("api-key"); token: str = ""',
    "password: ${DB_PASSWORD}, api_key: <your-api-key>, secret={{ vault.secret }}, pwd=changeme",
    "std::vector<int> a::b::c; abc::def(1) x ? a::b : fe::ed; 10:20:30:40",
    "icon@2x.png git@github.com:org/repo.git @decorator user@host",
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAAB",
    "ISBN 978-3-16-148410-0, EAN 4006381333931, DOI 10.1000/182, arXiv 2506.09996, RFC 2822",
    "order 20240506-00123, invoice 4711-0815, SKU 123456789012, tracking 1Z999AA10123456784",
    "52.520008, 13.404954; 40.7128 N 74.0060 W; (555, 1234, 9876) [1234567, 7654321]",
    "account 1234 5678 1234 5678 and FR76 1234 5678 1234 5678 9876 5432",
    "127.0.0.1:8080, 0.0.0.0, 255.255.255.0, ::1, localhost",
    "x = 1000000007; y = 0xdeadbeefcafebabe; z = 3.141592653589793238; n = 10 ** 18",
    "@@ -123,45 +678,90 @@ diff --git a/x b/x index 83db48f..bf269f4 100644",
    "[  123.456789] usb 1-1.2: new high-speed USB device number 4 using xhci_hcd 0000:00:14.0",
    "The token is passed as a header; each secret has a key, and the password is required.",
    "scores 98 76 54 32 10, 12 34 56 78 90 11 22; 1-2-3-4-5-6-7-8-9; 100-200-300",
    "INSERT INTO t VALUES (1, 20240506, 1715000000, 1715000000123, 'abc'), (2, 0, -1, 3.5, '')",
    "Meeting 10-11, room 3.14, pages 123-145, chapter 12.3.4, items 1000-2000, $1,234,567",
    "https://example.org/a/1234567890/b?id=9876543210&ts=1715000000#x12345678",
    "sk-learn task-based risk-free disk-encryption-key hf_transfer npm_config_registry",
)


@pytest.mark.parametrize("text", HARMLESS)
def test_r9_code_logs_hashes_dates_and_versions_raise_no_alarm(text: str) -> None:
    assert found(text) == []


@given(st.lists(st.text("0123456789abcdef", min_size=32, max_size=64), max_size=5))
def test_r9_hashes_raise_no_alarm(hashes: list[str]) -> None:
    assert found("\n".join(f"{n} {value} file.txt" for n, value in enumerate(hashes))) == []


@given(st.lists(st.uuids(), max_size=8))
def test_r9_uuids_raise_no_alarm(uuids: list[object]) -> None:
    assert found(" ".join(map(str, uuids))) == []


@given(st.datetimes())
def test_r9_times_raise_no_alarm(time: object) -> None:
    assert found(f"at {time} and {str(time).replace(' ', 'T')}Z") == []


@given(st.integers(10**11, 10**18))
def test_a_card_is_found_only_if_its_check_digit_is_right(body: int) -> None:
    number = f"4{str(body)[:14]:0<14}"
    right = [digit for digit in "0123456789" if luhn(number + digit)]
    assert len(right) == 1
    guard = Patterns(entities=("card",))
    for digit in "0123456789":
        text = number + digit
        assert bool(found(text, guard)) == (digit in right and len(set(text)) > 1)


def test_check_digits_catch_every_single_error() -> None:
    for check, number in ((luhn, "79927398713"), (verhoeff, "2363")):
        assert check(number)
        for place, digit in product(range(len(number)), "0123456789"):
            changed = number[:place] + digit + number[place + 1 :]
            assert check(changed) == (changed == number)
    assert mod97("GB82WEST12345698765432")
    assert not mod97("GB82WEST12345698765423")


def test_disguised_data_is_found_once_and_where_it_stands() -> None:
    assert found("mail ann\u200b@mail\u200b.io now") == [("email", "ann\u200b@mail\u200b.io")]
    assert found("card ４１１１ １１１１ １１１１ １１１１!") == [
        ("card", "４１１１ １１１１ １１１１ １１１１")
    ]
    assert found("ann@mail.io und ｂｏｂ@mail.io") == [
        ("email", "ann@mail.io"),
        ("email", "ｂｏｂ@mail.io"),
    ]


@pytest.mark.parametrize(
    ("text", "value", "note"),
    [
        ("see YW5uQG1haWwuaW8gYW5kIHRoZW4= now", "YW5uQG1haWwuaW8gYW5kIHRoZW4=", "base64"),
        (
            "x 616e6e406d61696c2e696f2069732069742121 y",
            "616e6e406d61696c2e696f2069732069742121",
            "hexadecimal",
        ),
        ("?to=ann%40mail.io%20and%20then", "ann%40mail.io", "URL encoding"),
    ],
)
def test_encoded_data_is_found_where_it_stands(text: str, value: str, note: str) -> None:
    [verdict] = run(ALL.check([Content.of(text)]), local.send)
    [finding] = verdict.findings
    assert finding.span is not None
    assert text[finding.span.start : finding.span.end] == value
    assert finding.note == f"mail address, read through {note}"


def test_leetspeak_is_not_undone_in_numbers_and_codes() -> None:
    assert found("my p4ssw0rd is at ann@mail.io") == [("email", "ann@mail.io")]


STREAMED = """
ann @ mail . io ann@mail.io 4111 1111 41111111 +1 212 555 0199 password: hunter2!x 203.0 .113.9
DE89 3704 0044 0532 0130 00 ｂｏｂ@mail.io a\u200bn YW5uQG1haWwuaW8gYW5kIHRoZW4= YW5u 616e6e - the
"""
streamed = st.lists(st.sampled_from([*STREAMED.split(), "\n", *"      "]), max_size=10).map("".join)


@settings(max_examples=150, deadline=None)
@given(streamed, streamed)
def test_what_is_settled_in_a_stream_stays_settled(text: str, more: str) -> None:
    place = ALL.open_at(text)
    assert 0 <= place <= len(text)
    known = places(text)
    settled = [span for span in known if span[1] <= place]
    crossing = [span for span in known if span[0] < place < span[1]]
    before = [span for span in places(text + more) if span[0] < place]
    assert [span for span in before if span not in crossing] == settled


def places(text: str) -> list[tuple[int, int]]:
    [verdict] = run(ALL.check([Content.of(text)]), local.send)
    return [(f.span.start, f.span.end) for f in verdict.findings if f.span is not None]


def test_a_tool_call_is_judged_and_spans_count_in_its_arguments() -> None:
    call = ToolCall("send", '{"to": "ann@mail.io"}')
    [verdict] = run(ALL.check([Content((call,))]), local.send)
    [finding] = verdict.findings
    assert finding.span is not None
    assert call.arguments[finding.span.start : finding.span.end] == "ann@mail.io"
    assert "ann" not in finding.note


def test_entities_are_chosen_by_name_or_category() -> None:
    text = "ann@mail.io 203.0.113.9 4111111111111111"
    assert found(text, Patterns(entities=("ipv4", "card"))) == [
        ("ip-address", "203.0.113.9"),
        ("card", "4111111111111111"),
    ]
    assert found(text, Patterns(entities=("email",))) == [("email", "ann@mail.io")]


def test_less_sure_findings_are_left_out() -> None:
    assert found("(415) 555-2671", Patterns(min_score=0.9)) == []


def test_an_unknown_entity_is_refused_with_a_hint() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'email'"):
        Patterns(entities=("emails",))


def test_names_are_unique_words() -> None:
    assert len(set(NAMES)) == len(NAMES) > 50


def test_own_patterns_report_their_group_and_category() -> None:
    own = CustomPattern("staff", r"\bEMP-(\d{4})\b", "staff-id", 0.8)
    guard = Patterns(entities=("email",), custom=(own,))
    assert found("é EMP-1234, EMP-12345, a@b.io", guard) == [
        ("staff-id", "1234"),
        ("email", "a@b.io"),
    ]


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(?=a)b", "invalid perl operator"),
        (r"(a)\1", "invalid escape sequence"),
        (r"(a", "missing"),
        (r"a{1000}{1000}", "repetition"),
        (r"((((a{100}){100}){100}){100})", "invalid repetition|too large|repetition"),
        (r"(a)(b)", "2 groups"),
        (r"a*", "empty text"),
    ],
)
def test_r10_a_pattern_that_is_not_linear_is_refused_by_name(pattern: str, reason: str) -> None:
    with pytest.raises(PatternError, match=reason) as error:
        Patterns(custom=(CustomPattern("mine", pattern),))
    assert "'mine'" in str(error.value)


@pytest.mark.parametrize(
    "pattern", [r"(a|aa)+$", r"(?:a+)+b", r"(?:a?){30}a{30}", r"(?:.*a){12}b", r"a[^z]*b|aaaaaaaa"]
)
def test_r10_a_hostile_pattern_ends_on_hostile_text(pattern: str) -> None:
    guard = Patterns(entities=("email",), custom=(CustomPattern("hostile", pattern),))
    for text in ("a" * 100_000, "a" * 100_000 + "!"):
        assert len(found(text, guard)) <= CANDIDATES


def test_r10_a_text_of_too_many_candidates_is_refused_by_name_and_alone() -> None:
    batch = [Content.of("1.2.3.4 " * (CANDIDATES + 1)), Content.of("ann@mail.io")]
    refused, judged = run(ALL.check(batch), local.send)
    assert f"at most {CANDIDATES:,} places" in refused.error
    assert len(judged.findings) == 1


@pytest.mark.parametrize("unit", ["1", "@", "a@", "1.", "eyJ", "-----BEGIN PRIVATE KEY-----", ":0"])
def test_r22_hostile_repetition_is_judged_or_refused(unit: str) -> None:
    text = unit * (200_000 // len(unit))
    [verdict] = run(ALL.check([Content.of(text)]), local.send)
    assert not verdict.error or "places that patterns must test" in verdict.error


MEMORY = """
import sys
from pathlib import Path
from balustrade.backends.local import Local
from balustrade.backends.route import Route
from balustrade.backends.static import Static
from balustrade.core.content import Content
from balustrade.flow.run import run
from balustrade.guards.classifier import Classifier
from balustrade.guards.keywords import Keywords
from balustrade.guards.patterns import Patterns
route = Route({"static": Static}, Local(2))
def judge(text):
    for guard in (Patterns(), Keywords(words=("aurora", "tax file")), Classifier()):
        [verdict] = run(guard.check([Content.of(text)]), route.send)
        assert not verdict.error, verdict.error
judge("hello, ｗｏｒｌｄ")
judge(sys.stdin.read())
# Not ru_maxrss: on Linux a child starts with its parent's.
lines = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads its memory from /proc")
@pytest.mark.parametrize(
    "unit",
    [
        "We meet at noon; write to ann@mail.io or call +44 20 7946 0958. ",
        "ｗｅ ｍｅｅｔ k1ll a b c d %6b%69 aWdub3JlIGl0IGFsbA== ",
        "密码是什么",
        "a\u0301\u0301\u0301",
    ],
)
def test_r22_100_000_characters_take_little_memory(unit: str) -> None:
    text = unit * (100_000 // len(unit))
    done = subprocess.run(
        [sys.executable, "-c", MEMORY],
        input=text.encode(),
        capture_output=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"},
    )
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) < 128 * 1024


@given(st.text(max_size=80), st.sampled_from(sorted(SECRETS.values())), st.text(max_size=40))
def test_spans_lie_in_the_text_and_do_not_overlap(before: str, secret: str, after: str) -> None:
    text = f"{before} {secret} {after}"
    [verdict] = run(ALL.check([Content.of(text)]), local.send)
    spans = [finding.span for finding in verdict.findings if finding.span is not None]
    assert len(spans) == len(verdict.findings) >= 1
    assert all(0 <= span.start < span.end <= len(text) for span in spans)
    assert all(a.end <= b.start for a, b in pairwise(spans))
