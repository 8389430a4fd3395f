// Shows an answer word by word while it is judged. Without it the page comes when all is judged.
"use strict";
(() => {
  const stage = document.querySelector("[data-stage]");
  const live = stage.querySelector("[data-live]");
  const status = stage.querySelector("[data-status]");
  const problem = stage.querySelector("[data-problem]");
  const next = document.querySelector("[data-next]");
  const stop = document.querySelector("[data-stop]");
  const bar = 6;
  let going = null;

  const heat = (score) => `h${Math.min(9, Math.floor(score * 10))}`;
  const y = (score) => 110 - 100 * score;

  const draw = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };

  // The words of one answer, at the end of which the server sends the whole of it.
  const player = () => {
    const came = []; // Code points: the server counts them so.
    const held = []; // Words that were judged and have not left yet.
    const tail = document.createElement("span");
    tail.className = "waiting";
    let text, chart, bars, level, isScored, done = 0, count = 0, highest = 0;

    const word = ({ start, end, score }) => {
      text.insertBefore(document.createTextNode(came.slice(done, start).join("")), tail);
      const made = document.createElement("span");
      made.textContent = came.slice(start, end).join("");
      made.className = "word held";
      if (score !== undefined) {
        made.classList.add(heat(score));
        made.title = made.dataset.score = score.toFixed(4);
        highest = Math.max(highest, score);
      }
      text.insertBefore(made, tail);
      held.push({ made, end });
      done = end;
      count += 1;
    };

    const column = ({ text: said, score }, reported) => {
      const x = bars.childElementCount * bar;
      const made = draw("rect", {
        class: heat(score), x, y: y(score), width: bar - 1, height: 100 * score,
      });
      made.append(draw("title", {}));
      made.firstChild.textContent = `${said} ${score.toFixed(4)}`;
      bars.append(made);
      const svg = bars.ownerSVGElement;
      for (const edge of [x, x + bar]) {
        const point = svg.createSVGPoint();
        [point.x, point.y] = [edge, y(reported)];
        level.points.appendItem(point);
      }
      svg.setAttribute("width", x + bar);
    };

    return {
      start: (given) => {
        live.innerHTML = given.html;
        text = live.querySelector("[data-text]");
        chart = live.querySelector(".chart");
        bars = live.querySelector("[data-bars]");
        level = live.querySelector("[data-level]");
        isScored = given.is_scored;
        text.append(tail);
        const known = { Policy: given.policy, revision: given.revision, model: given.model, key: given.key };
        status.textContent = Object.entries(known).filter(([, value]) => value)
          .map((pair) => pair.join(" ")).join(", ");
      },
      step: (given) => {
        const before = came.length;
        came.push(...given.text);
        if (isScored) {
          for (const each of given.words) { word(each); column(each, given.level); }
        } else if (given.text) word({ start: before, end: came.length });
        while (held.length && held[0].end <= given.left) held.shift().made.classList.remove("held");
        tail.textContent = came.slice(done).join("");
        text.scrollTop = text.scrollHeight;
        if (chart) chart.scrollLeft = chart.scrollWidth;
      },
      end: (given) => {
        live.innerHTML = given.html;
        const judged = isScored ? `${count} words judged, the highest score ${highest.toFixed(4)}` : "No scores";
        status.textContent = `${judged}; ${given.cut ? `cut by ${given.rule}` : "not cut"}.`;
        const whole = live.querySelector("pre"), columns = live.querySelector(".chart");
        whole.scrollTop = whole.scrollHeight;
        if (columns) columns.scrollLeft = columns.scrollWidth;
      },
    };
  };

  const follow = async (answer, show) => {
    let hasBegun = false, hasEnded = false;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const each of events) {
        const [, kind = "", data = ""] = each.match(/^(?:event: (\w+)\n)?data: (.*)$/) ?? [];
        if (!data) continue;
        const given = JSON.parse(data);
        if (given.error) throw new Error(given.error.message);
        show[kind](given);
        hasBegun = true;
        hasEnded = kind === "end";
      }
    }
    if (hasBegun && !hasEnded) throw new Error("The stream broke off.");
    return hasEnded;
  };

  const tell = (message) => {
    problem.textContent = message;
    problem.hidden = !message;
  };

  const watch = async (url, options) => {
    going?.abort();
    const own = going = new AbortController();
    tell("");
    stop.hidden = false;
    if (stage.getBoundingClientRect().top > innerHeight * 0.7) stage.scrollIntoView();
    try {
      const headers = { accept: "text/event-stream" };
      for (;;) {
        const answer = await fetch(url, { ...options, headers, signal: own.signal });
        if (!answer.ok) throw new Error((await answer.json()).error.message);
        if (await follow(answer, player())) break;
        // Nothing began: who waits for an answer asks again, the form's would have begun.
        if (options.method) throw new Error("The stream broke off.");
      }
    } catch (error) {
      if (error.name !== "AbortError") tell(error.message);
      else if (going === own) status.textContent = "Stopped.";
    }
    if (going === own) stop.hidden = true;
  };

  document.addEventListener("submit", (event) => {
    const form = event.target.closest("form[data-watch]");
    if (!form) return;
    event.preventDefault();
    const fields = new FormData(form);
    if (!fields.has("pace")) {
      for (const name of ["policy", "pace"]) fields.set(name, document.getElementById(name).value);
      for (const name of ["request", "text"]) document.getElementById(name).value = fields.get(name);
    }
    watch(form.action, { method: "POST", body: new URLSearchParams(fields) });
  });
  next.addEventListener("click", () => {
    live.textContent = "";
    status.textContent = "Waiting for the next answer that is streamed to a client.";
    watch(next.dataset.next, {});
  });
  next.hidden = false;
  stop.addEventListener("click", () => going?.abort());
})();
