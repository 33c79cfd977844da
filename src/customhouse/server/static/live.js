// Keeps the board current. The server says that something changed, the page fetches the board and replaces those
// sections that differ; what the reader has opened, focused or scrolled stays. When the stream breaks, or says nothing
// for three beats, the page says `stale` at once rather than showing old numbers as if they were new.
"use strict";
const board = document.getElementById("board");
const live = document.getElementById("live");
const news = document.getElementById("news");
const BEATS_MS = 16000; // three beats of the server, and a little
const OLD_S = 15; // the control plane looks every second; when a step takes this long the numbers are old
let asked = false;
let again = false;
let known = newest(board);
let watch = 0;

function state(word) {
  live.hidden = false;
  document.body.classList.toggle("stale", word === "stale");
  if (live.dataset.state === word) return;
  live.dataset.state = word;
  live.textContent = word;
}

function newest(root) {
  const row = root.querySelector("[data-decision]");
  return row ? { id: row.dataset.decision + row.querySelector("time").dateTime, said: row.dataset.said } : { id: "", said: "" };
}

function keep(before, after) {
  for (const details of before.querySelectorAll("details[open][id]")) {
    const same = after.querySelector("#" + CSS.escape(details.id));
    if (same) same.open = true;
  }
}

// Where the focus is, as a selector that finds the same thing in the next version of the section.
function place(section) {
  const focus = document.activeElement;
  if (!focus || !section.contains(focus)) return "";
  if (focus.tagName === "SUMMARY") return `#${CSS.escape(focus.parentElement.id)} > summary`;
  if (focus.tagName === "A") return `a[href="${CSS.escape(focus.getAttribute("href"))}"]`;
  return `[role=region][aria-labelledby="${CSS.escape(focus.getAttribute("aria-labelledby") || "")}"]`;
}

function show(text) {
  const next = new DOMParser().parseFromString(text, "text/html").body;
  const wanted = [...next.children];
  const names = new Set(wanted.map((section) => section.id));
  for (const old of [...board.children]) if (!names.has(old.id)) old.remove();
  wanted.forEach((section, index) => {
    const old = document.getElementById(section.id);
    if (old === null) {
      board.insertBefore(section, board.children[index] || null);
      return;
    }
    const focus = place(old);
    keep(old, section);
    if (old.outerHTML === section.outerHTML) return;
    const scrolled = [...old.querySelectorAll(".scroll")].map((area) => area.scrollLeft);
    old.replaceWith(section);
    [...section.querySelectorAll(".scroll")].forEach((area, i) => { area.scrollLeft = scrolled[i] || 0; });
    const back = focus ? section.querySelector(focus) : null;
    if (back) back.focus({ preventScroll: true });
  });
  const now = newest(board);
  if (now.id !== known.id && now.said) news.textContent = now.said;
  known = now;
}

async function refresh() {
  if (asked || document.hidden) { again = true; return; }
  asked = true;
  again = false;
  try {
    const answer = await fetch("/fragment", { signal: AbortSignal.timeout(5000) });
    if (!answer.ok && answer.status !== 503) throw new Error(String(answer.status));
    show(await answer.text());
    state("live");
  } catch (error) {
    state("stale");
  } finally {
    asked = false;
    if (again && !document.hidden) refresh();
  }
}

function heard() {
  clearTimeout(watch);
  watch = setTimeout(() => state("stale"), BEATS_MS);
}

const events = new EventSource("/events");
events.addEventListener("changed", () => { heard(); refresh(); });
events.addEventListener("beat", (event) => {
  heard();
  const beat = JSON.parse(event.data);
  const at = document.getElementById("as-of");
  if (beat.age > OLD_S) state("stale");
  else if (live.dataset.state === "stale") refresh();
  else if (at && beat.at) { at.dateTime = beat.at; at.textContent = beat.at.slice(0, 19).replace("T", " "); }
});
events.onerror = () => state("stale");
document.addEventListener("visibilitychange", () => { if (!document.hidden && again) refresh(); });
state("connecting");
heard();
