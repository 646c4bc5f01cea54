// Times in the reader's own zone, the list kept fresh, and the button that empties it. The page works without any of it.
"use strict";

const REFRESH_MS = 2000;

function showLocalTimes(root) {
  const today = new Date().toDateString();
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    const clock = at.toLocaleTimeString([], { hour12: false });
    const day = at.toLocaleDateString([], { day: "numeric", month: "short" });
    time.title = at.toISOString();
    time.textContent = at.toDateString() === today ? clock : `${day} ${clock}`;
  }
}

async function refresh(rows, seen) {
  const known = seen.tag ? { "If-None-Match": seen.tag } : {};
  const answer = await fetch(`/rows${location.search}`, { headers: known, cache: "no-store" });
  if (answer.status !== 200) return;
  const fresh = await answer.text(); // escaped by the server, like the page itself
  const focused = rows.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  rows.innerHTML = fresh;
  showLocalTimes(rows);
  if (focused) rows.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  seen.tag = answer.headers.get("ETag");
}

function keepFresh(rows) {
  const seen = { tag: null };
  const again = async () => {
    try {
      if (!document.hidden) await refresh(rows, seen);
    } catch {
      // The inbox is away: it is asked again.
    }
    setTimeout(again, REFRESH_MS);
  };
  again();
}

function offerToEmpty(button) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    if (!confirm("Delete all messages?")) return;
    await fetch("/api/messages", { method: "DELETE" });
    location.assign("/");
  });
}

showLocalTimes(document);
const rows = document.getElementById("rows");
const empty = document.getElementById("empty");
if (rows?.hasAttribute("data-refresh")) keepFresh(rows);
if (empty) offerToEmpty(empty);
