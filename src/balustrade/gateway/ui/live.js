// Keeps the table of decisions current. Without it the page is complete as it was sent.
"use strict";
(() => {
  const table = document.querySelector("[data-live]");
  if (!table) return;
  const status = document.querySelector("[data-live-status]");
  const limit = 200;
  let wait = 2000;
  const refresh = async () => {
    const body = table.querySelector("tbody");
    const newest = body?.querySelector("tr[data-id]")?.dataset.id ?? "";
    try {
      const url = new URL(table.dataset.live, location.href);
      url.searchParams.set("after", newest);
      const answer = await fetch(url, { headers: { accept: "text/html" } });
      if (!answer.ok) throw new Error(String(answer.status));
      const made = document.createElement("tbody");
      made.innerHTML = await answer.text();
      const rows = [...made.querySelectorAll("tr")];
      if (rows.length && !body) { location.reload(); return; }
      rows.reverse().forEach((row) => { row.className = "fresh"; body.prepend(row); });
      while (body && body.rows.length > limit) body.deleteRow(-1);
      if (status) status.textContent = "Live: new decisions appear by themselves.";
      wait = 2000;
    } catch (error) {
      if (status) status.textContent = "The server does not answer; trying again.";
      wait = Math.min(wait * 2, 30000);
    }
    setTimeout(refresh, document.hidden ? 10000 : wait);
  };
  if (status) status.textContent = "Live: new decisions appear by themselves.";
  setTimeout(refresh, wait);
})();
