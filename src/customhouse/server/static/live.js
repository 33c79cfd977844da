// Keeps the board current: the server says that something changed, the page fetches the new fragment. When the stream
// breaks the page says so at once, rather than showing old numbers as if they were new.
"use strict";
const board = document.getElementById("board");
const live = document.getElementById("live");
let asked = false;
let again = false;

async function refresh() {
  if (asked) { again = true; return; }
  asked = true;
  try {
    const answer = await fetch("/fragment");
    if (!answer.ok) throw new Error(String(answer.status));
    const focused = document.activeElement && document.activeElement.getAttribute("aria-labelledby");
    board.innerHTML = await answer.text();
    if (focused) { const back = board.querySelector(`[role=region][aria-labelledby="${focused}"]`); if (back) back.focus(); }
    state("live");
  } catch (error) {
    state("stale");
  } finally {
    asked = false;
    if (again) { again = false; refresh(); }
  }
}

function state(word) {
  if (live.textContent !== word) live.textContent = word;
  live.dataset.state = word;
}

const events = new EventSource("/events");
events.addEventListener("changed", refresh);
events.onerror = () => state("stale");
