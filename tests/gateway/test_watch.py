"""The console's live stream: words with their scores as they are judged, and where it was cut."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest

from balustrade.gateway.auth import Key, new_key
from balustrade.gateway.sse import Events

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
browser_needed = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver on the PATH"
)

SCORED = """
name = "scored"

[[stage.output.guards]]
use = "scm"

[[stage.output.guards]]
use = "keywords"
words = ["nasty thing"]
category = "word"

[[stage.output.guards]]
use = "patterns"
entities = ["email"]

[[stage.output.rules]]
name = "never"
category = "response-harm"
guard = "scm"
threshold = 1.0

[[stage.output.rules]]
name = "no-nasty"
category = "word"

[[stage.output.rules]]
name = "mails"
category = "email"
action = "redact"
"""

FULL = f"{SCORED}\n[audit]\nkeep = 'full'\n"

TEXT = "Well 😀 then, this is a nasty thing to say. Nobody reads on."
CUT = TEXT.index("nasty")


class Watched(NamedTuple):
    """What somebody who watches was told."""

    start: dict[str, Any]
    steps: list[dict[str, Any]]
    end: dict[str, Any]

    @property
    def words(self) -> list[dict[str, Any]]:
        return [word for step in self.steps for word in step["words"]]

    @property
    def text(self) -> str:
        return "".join(step["text"] for step in self.steps)


def read(body: bytes) -> Watched:
    told = [(event.name.decode(), json.loads(event.data)) for event in Events().feed(body)]
    names = [name for name, _ in told]
    assert names == ["start", *["step"] * (len(told) - 2), "end"], told
    return Watched(told[0][1], [each for _, each in told[1:-1]], told[-1][1])


def watch(url: str, secret: str = "", **fields: str) -> httpx.Response:
    headers = {"accept": "text/event-stream", **bearer(secret)}
    return httpx.post(f"{url}/console/watch", data=fields, headers=headers, timeout=30)


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"} if secret else {}


@pytest.fixture(scope="module")
def scored(standing: Callable[..., str]) -> str:
    """The address of a console whose policy scores words, and cuts by a list of them."""
    return standing(SCORED)


@pytest.fixture(scope="module")
def full(standing: Callable[..., str]) -> str:
    """The same with a policy that keeps texts whole in its log."""
    return standing(FULL)


def test_words_come_in_their_order_with_their_scores(scored: str) -> None:
    reply = watch(scored, text=TEXT.replace("nasty", "fine"), pace="200")
    assert reply.headers["content-type"].startswith("text/event-stream")
    told = read(reply.content)
    assert told.start["is_scored"]
    assert [word["text"] for word in told.words] == TEXT.replace("nasty", "fine").split()
    assert all(0.0 <= word["score"] <= 1.0 for word in told.words)
    assert len({word["score"] for word in told.words}) > 1
    places = [word["start"] for word in told.words]
    assert places == sorted(places)
    assert all(told.text[w["start"] : w["end"]] == w["text"] for w in told.words)
    assert not told.end["cut"]
    assert told.end["at"] == len(told.text)


def test_scores_do_not_hang_on_what_comes_after(scored: str) -> None:
    whole = read(watch(scored, text="One two three four five six.", pace="200").content).words
    part = read(watch(scored, text="One two three four nasty thing", pace="200").content).words
    assert [w["score"] for w in whole][:4] == [w["score"] for w in part][:4]


def test_the_stream_is_shown_cut_where_the_policy_cuts_it(scored: str) -> None:
    told = read(watch(scored, text=TEXT, pace="200").content)
    assert told.end["cut"]
    assert told.end["at"] == CUT
    assert (told.end["rule"], told.end["category"]) == ("no-nasty", "word")
    assert (told.end["guard"], told.end["score"]) == ("keywords", 1.0)
    assert all(word["end"] <= CUT for word in told.words)
    assert max(step["left"] for step in told.steps) == CUT
    assert "Nobody" not in told.text
    assert "cut here" in told.end["html"]


def test_the_threshold_is_that_of_the_rule_which_asks_the_monitor(scored: str) -> None:
    told = read(watch(scored, text=TEXT, pace="200").content)
    assert told.start["thresholds"] == [{"rule": "never", "action": "block", "limit": 1.0}]
    assert "scm counts words from 0.50 on" in told.start["explained"][0]


def test_the_decision_is_on_record_before_the_end_is_told(scored: str) -> None:
    told = read(watch(scored, text=TEXT, pace="200").content)
    record = httpx.get(f"{scored}/v1/decisions/{told.end['decision']}").json()
    assert (record["stage"], record["action"], record["rule"]) == ("output", "block", "no-nasty")
    assert record["route"] == "/console/watch"


def test_a_policy_without_a_monitor_shows_cuts_and_says_that_it_has_no_scores(
    standing: Callable[..., str],
) -> None:
    told = read(watch(standing(), text=TEXT, pace="200").content)
    assert not told.start["is_scored"]
    assert told.words == []
    assert (told.end["cut"], told.end["at"]) == (True, CUT)
    assert "have no scores" in told.end["html"]


def test_words_come_at_the_pace_that_was_asked_for(scored: str) -> None:
    started = time.monotonic()
    read(watch(scored, text="one two three four", pace="10").content)
    assert time.monotonic() - started >= 0.4


def test_without_scripts_the_page_comes_with_all_of_it(scored: str) -> None:
    fields = {"text": f"Ask ann@example.org & <b>then</b>. {TEXT}", "request": "<i>Who?</i>"}
    page = httpx.post(f"{scored}/console/watch", data=fields, timeout=30).text
    assert re.search(r'<span class="word h\d" title="0\.\d{4}" data-score="0\.\d{4}">Ask<', page)
    assert 'title="left as [EMAIL]"' in page
    assert "cut after" in page
    assert "no-nasty (word, 1.000 by keywords), 1 place masked" in page
    assert "✂ cut here" in page
    assert re.search(r"<del[^>]*>nasty thing ", page)
    assert "<b>then" not in page
    assert "<i>Who" not in page


def test_what_a_text_is_judged_with_is_the_request_it_answers(scored: str) -> None:
    alone = read(watch(scored, text="Yes, I will do that now.", pace="200").content)
    asked = watch(scored, text="Yes, I will do that now.", request="Kill them all.", pace="200")
    assert [w["score"] for w in alone.words] != [w["score"] for w in read(asked.content).words]


WRONG = [
    ({"text": " \n "}, "the answer is empty"),
    ({}, "the answer is empty"),
    ({"text": "x" * 20_001}, "The answer has 20,001 characters, expected at most 20,000"),
    ({"text": "x", "request": "y" * 20_001}, "The request has 20,001 characters"),
    ({"text": "x", "policy": "absent"}, "There is no policy 'absent' here, expected one of: 'sco"),
    ({"text": "x", "pace": "0"}, "There are 1 to 200 words a second, found '0'"),
    ({"text": "x", "pace": "fast"}, "found 'fast'"),
    ({"text": "x", "pace": "²"}, "found '²'"),
]


@pytest.mark.parametrize(("fields", "said"), WRONG)
def test_a_form_that_is_wrong_is_answered_in_words(
    scored: str, fields: dict[str, str], said: str
) -> None:
    told = watch(scored, **fields)
    assert told.status_code == 400
    assert said in told.json()["error"]["message"]
    page = httpx.post(f"{scored}/console/watch", data=fields, timeout=30)
    assert page.status_code == 400
    assert said in page.text.replace("&#x27;", "'")
    assert 'role="alert"' in page.text


def test_a_form_that_is_no_utf8_is_answered_in_words(scored: str) -> None:
    reply = httpx.post(f"{scored}/console/watch", content=b"text=\xff%ff", timeout=30)
    assert reply.status_code == 400
    assert "expected fields in UTF-8" in reply.text


def test_a_form_of_another_site_is_refused(scored: str) -> None:
    headers = {"sec-fetch-site": "cross-site"}
    reply = httpx.post(f"{scored}/console/watch", data={"text": "x"}, headers=headers)
    assert reply.status_code == 403


def test_pages_have_the_content_security_policy_of_the_others(scored: str) -> None:
    reply = httpx.get(f"{scored}/console/watch")
    assert reply.headers["content-security-policy"].startswith("default-src 'none'")
    assert " style=" not in reply.text
    assert "onclick" not in reply.text


ADMIN, BOT, OTHER = (new_key() for _ in range(3))


@pytest.fixture(scope="module")
def locked(standing: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a gateway with keys of an administrator, of a bot, and of another's."""
    own = tmp_path_factory.mktemp("locked") / "own.toml"
    own.write_text(FULL.replace("scored", "own"))
    keys = (
        Key("admin", ADMIN[1], admin=True),
        Key("bot", BOT[1], tenant="desk", policy="own"),
        Key("other", OTHER[1], tenant="shop"),
    )
    return standing(FULL, keys=keys, policies={"own": str(own)})


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/console/watch"), ("POST", "/console/watch"), ("GET", "/console/watch/next")],
)
@pytest.mark.parametrize("secret", ["", "bal-wrongwrongwrongwrongwrong"])
def test_without_a_key_nothing_is_shown(locked: str, method: str, path: str, secret: str) -> None:
    reply = httpx.request(method, locked + path, headers=bearer(secret))
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"].startswith("Basic")


def test_a_key_tries_its_own_policy_and_an_administrators_all(locked: str) -> None:
    mine = read(watch(locked, BOT[0], text="x", pace="200").content)
    assert mine.start["policy"] == "own"
    page = httpx.get(f"{locked}/console/watch", headers=bearer(BOT[0])).text
    assert re.findall("<option[^>]*>([^<]+)", page) == ["own"]
    refused = watch(locked, BOT[0], text="x", policy="scored")
    assert refused.status_code == 400
    assert "There is no policy 'scored' here" in refused.json()["error"]["message"]
    page = httpx.get(f"{locked}/console/watch", headers=bearer(ADMIN[0])).text
    assert sorted(re.findall("<option[^>]*>([^<]+)", page)) == ["own", "scored"]
    chosen = read(watch(locked, ADMIN[0], text="x", pace="200", policy="own").content)
    assert chosen.start["policy"] == "own"


class Following:
    """Somebody who watches the next answer that a gateway gives."""

    def __init__(self, url: str, secret: str = "") -> None:
        self.body = b""
        self._begun = threading.Event()
        self._url, self._secret = url, secret
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._begun.wait(20)

    def _run(self) -> None:
        path, headers = f"{self._url}/console/watch/next", bearer(self._secret)
        with httpx.stream("GET", path, headers=headers, timeout=30) as reply:
            for piece in reply.iter_bytes():
                self.body += piece
                self._begun.set()

    def end(self) -> Watched:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return read(self.body)


def chunk(index: int, text: str | None = None) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    why = "stop" if text is None else None
    return {"id": "c", "choices": [{"index": index, "delta": delta, "finish_reason": why}]}


def answering(upstream: Any, *texts: str, delay: float = 0.0) -> None:
    """Have upstream stream these texts, a word of each in turn, as alternatives."""
    rows = [re.findall(r"\S+\s*", text) for text in texts]
    events: list[Any] = []
    for number in range(max(map(len, rows))):
        some = [chunk(i, row[number])["choices"][0] for i, row in enumerate(rows) if row[number:]]
        events.append({"id": "c", "choices": some})
    ends = [chunk(index) for index in range(len(texts))]
    upstream.delay = delay
    upstream.answer = lambda _path, _body: [*events, *ends, b"data: [DONE]\n\n"]


def ask(url: str, secret: str = "", count: int = 1) -> str:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    path, headers = f"{url}/v1/chat/completions", bearer(secret)
    reply = httpx.post(path, json={**body, "n": count}, headers=headers, timeout=30)
    assert reply.text.endswith("data: [DONE]\n\n"), reply.text
    return reply.text


def test_an_answer_of_upstream_is_shown_as_it_is_judged(full: str, upstream: Any) -> None:
    answering(upstream, TEXT)
    following = Following(full)
    ask(full)
    told = following.end()
    assert told.start["is_shown"]
    assert told.start["model"] == "m"
    assert TEXT.startswith(told.text)
    assert [word["text"] for word in told.words] == TEXT[:CUT].split()
    assert (told.end["cut"], told.end["at"], told.end["rule"]) == (True, CUT, "no-nasty")
    tried = read(watch(full, text=TEXT, request="hi", pace="200").content)
    assert [w["score"] for w in tried.words] == [w["score"] for w in told.words]


def test_a_text_that_the_policy_does_not_keep_whole_is_not_shown(
    scored: str, upstream: Any
) -> None:
    answering(upstream, TEXT)
    following = Following(scored)
    ask(scored)
    told = following.end()
    assert not told.start["is_shown"]
    assert set(told.text) <= {"·", " "}
    assert [len(word["text"]) for word in told.words] == list(map(len, TEXT[:CUT].split()))
    assert all(0.0 <= word["score"] <= 1.0 for word in told.words)
    assert told.end["at"] == CUT
    assert not {"Well", "thing", "say"} & set(re.findall(r"\w+", following.body.decode()))


def test_of_several_alternatives_the_first_is_shown_and_none_changes(
    full: str, upstream: Any
) -> None:
    answering(upstream, "The first one is fine.", TEXT, "And a third one.")
    unseen = ask(full, count=3)
    following = Following(full)
    seen = ask(full, count=3)
    told = following.end()
    assert told.text == "The first one is fine."
    assert [word["text"] for word in told.words] == told.text.split()
    assert without_ids(seen) == without_ids(unseen)


def without_ids(stream: str) -> dict[tuple[int, str], str]:
    texts: dict[tuple[int, str], str] = {}
    for line in stream.splitlines():
        if line.startswith("data: {"):
            for choice in json.loads(line[6:]).get("choices", ()):
                key = (choice["index"], choice.get("finish_reason") or "")
                texts[key] = texts.get(key, "") + (choice["delta"].get("content") or "")
    return texts


def test_only_who_may_see_a_decision_watches_it_being_made(locked: str, upstream: Any) -> None:
    answering(upstream, "Something fine.")
    admin, other = Following(locked, ADMIN[0]), Following(locked, OTHER[0])
    ask(locked, BOT[0])
    assert admin.end().start["key"] == "bot"
    assert other.body == b": waiting\n\n"
    answering(upstream, "Something else.")
    ask(locked, OTHER[0])
    told = other.end()
    assert (told.start["key"], told.text) == ("other", "Something else.")


def test_who_leaves_while_watching_disturbs_nothing(full: str, upstream: Any) -> None:
    answering(upstream, "One two three four five six seven eight nine ten.", delay=0.05)
    leaving = threading.Event()

    def leave() -> None:
        with httpx.stream("GET", f"{full}/console/watch/next", timeout=30) as reply:
            for piece in reply.iter_bytes():
                leaving.set()
                if b"event: step" in piece:
                    return

    thread = threading.Thread(target=leave, daemon=True)
    thread.start()
    assert leaving.wait(20)
    assert "nine" in ask(full)
    thread.join(20)
    following = Following(full)
    ask(full)
    assert following.end().text.endswith("ten.")


@pytest.fixture
def browser() -> Iterator[Chrome]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, Service(DRIVER))
    yield driver
    driver.quit()


def wait(driver: Chrome, selector: str) -> list[Any]:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, 20, 0.05).until(
        lambda page: page.find_elements(By.CSS_SELECTOR, selector)
    )


def seen(driver: Chrome, selector: str) -> list[str]:
    from selenium.webdriver.common.by import By

    return [each.text for each in driver.find_elements(By.CSS_SELECTOR, selector)]


@browser_needed
@pytest.mark.browser
def test_a_person_sees_words_appear_and_the_stream_cut(scored: str, browser: Chrome) -> None:
    browser.get(f"{scored}/console/watch")
    wait(browser, "#request")[0].send_keys("Is it nice?")
    browser.execute_script("document.getElementById('text').value = arguments[0]", TEXT)
    wait(browser, "form[data-watch] button:not(.sample)")[0].click()
    assert wait(browser, "[data-text] .word[data-score]")
    assert not seen(browser, "b.cut")
    wait(browser, "b.cut")
    words = wait(browser, "pre .word")
    assert [word.text for word in words] == TEXT[:CUT].split()
    assert all(0.0 <= float(word.get_attribute("title")) <= 1.0 for word in words)
    assert len(wait(browser, ".chart rect")) == len(words)
    assert wait(browser, ".chart line.limit")
    assert "no-nasty (word, 1.000 by keywords)" in seen(browser, ".verdict")[0]
    assert [text.strip() for text in seen(browser, "del")] == ["nasty thing"]
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]  # of selenium


@browser_needed
@pytest.mark.browser
def test_a_person_is_told_what_is_wrong_and_may_stop(scored: str, browser: Chrome) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(f"{scored}/console/watch")
    wait(browser, "#text")[0].send_keys("   ")
    wait(browser, "form[data-watch] button:not(.sample)")[0].click()
    alert = wait(browser, "[data-problem]:not([hidden])")[0]
    assert "the answer is empty" in alert.text
    wait(browser, "button.sample")[0].click()
    wait(browser, "[data-text] .word")
    wait(browser, "[data-stop]:not([hidden])")[0].click()
    WebDriverWait(browser, 20).until(lambda _: seen(browser, "[data-status]") == ["Stopped."])
    assert not alert.is_displayed()


@browser_needed
@pytest.mark.browser
def test_a_person_watches_the_next_answer_of_upstream(
    full: str, upstream: Any, browser: Chrome
) -> None:
    answering(upstream, TEXT, delay=0.05)
    browser.get(f"{full}/console/watch")
    wait(browser, "[data-next]:not([hidden])")[0].click()
    wait(browser, "[data-stop]:not([hidden])")
    deadline = time.monotonic() + 20
    while not seen(browser, "b.cut") and time.monotonic() < deadline:
        ask(full)
    assert seen(browser, "pre .word") == TEXT[:CUT].split()


@browser_needed
@pytest.mark.browser
def test_the_page_fits_a_phone(scored: str, browser: Chrome) -> None:
    metrics = {"width": 375, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(f"{scored}/console/watch")
    browser.execute_script(
        "document.getElementById('text').value = arguments[0];"
        "document.getElementById('pace').value = 200;",
        f"{'Some words that make it long enough. ' * 20} {TEXT}",
    )
    wait(browser, "form[data-watch] button:not(.sample)")[0].click()
    wait(browser, "b.cut")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 375
