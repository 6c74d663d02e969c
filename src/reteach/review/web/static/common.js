"use strict";
// What every page of a review does: requests that arrive once, the state of the work, keys.

const $ = (query, within = document) => within.querySelector(query);
const all = (query, within = document) => [...within.querySelectorAll(query)];
const FORM = $("meta[name=form]").content;
const PATIENCE = 20000; // ms until a try counts as lost
const LIVE = 3000; // ms between looks at what others decide
const KEYS = "reteach-review-shortcuts";

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const fresh = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
const shortcuts = () => localStorage.getItem(KEYS) !== "off";

function say(text) { $("#status").textContent = text; }

// Over whatever is on top.
function toast(element, text) {
  ($("dialog[open]:last-of-type") ?? document.body).append(element);
  element.hidden = !text;
}

function problem(text) {
  const place = $("#problem");
  place.textContent = text;
  toast(place, text);
}

async function once(path, body) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), PATIENCE);
  const headers = { "Content-Type": "application/json", Accept: "application/json", "X-Form": FORM };
  try {
    return await fetch(path, { method: "POST", headers, body, signal: stop.signal });
  } finally {
    clearTimeout(timer);
  }
}

// Until the server has answered, with the number of the first try: to the store, all tries are one request.
async function deliver(path, body) {
  for (let wait = 1000; ; wait = Math.min(2 * wait, 8000)) {
    let why = "the server cannot be reached";
    try {
      const reply = await once(path, body);
      if (reply.status < 500 && reply.status !== 429) {
        const answer = await reply.json();
        problem(reply.ok ? "" : `${answer.title}: ${answer.text}`);
        return reply.ok ? answer : null;
      }
      if (reply.status === 507) why = "the disk of the server is full";
    } catch { /* no connection, or an answer that broke off */ }
    problem(`Not saved yet: ${why}. Trying again …`);
    await pause(wait);
  }
}

let unsaved = 0;
let queue = Promise.resolve();

// One after the other, in the order of the keys; null: the server has refused.
function send(path, fields = {}) {
  const body = JSON.stringify({ ...fields, request: fresh(), shown: shownRows(), order: order() });
  unsaved += 1;
  document.body.classList.add("saving");
  const answer = queue.then(() => deliver(path, body));
  queue = answer.then(() => {
    unsaved -= 1;
    document.body.classList.toggle("saving", unsaved > 0);
  });
  return answer.then((found) => { if (found) take(found); return found; });
}

const order = () => $("#head").dataset.order;
const shownRows = () => all("[data-row]").map((card) => Number(card.dataset.row));

// The news in an answer: cards that look different now, and the state of the work.
function take(answer) {
  for (const [row, html] of Object.entries(answer.cards ?? {})) replaceCard(row, html);
  if (answer.head) replaceHead(answer.head);
  if (answer.said) say(answer.said);
  document.dispatchEvent(new Event("taken"));
}

function replaceCard(row, html) {
  const old = document.getElementById(`c${row}`);
  if (!old) return;
  const box = document.createElement("template");
  box.innerHTML = html.trim();
  const card = box.content.firstElementChild;
  card.tabIndex = old.tabIndex;
  card.setAttribute("aria-selected", old.getAttribute("aria-selected"));
  const held = document.activeElement === old;
  const [before, after] = [$("img", old), $("img", card)];
  if (before && after) after.replaceWith(before); // the picture is the same: no flicker
  old.replaceWith(card);
  if (held) card.focus({ preventScroll: true });
}

let learned = $("#head").dataset.learned;

function replaceHead(html) {
  const box = document.createElement("template");
  box.innerHTML = html.trim();
  const head = box.content.querySelector("#head");
  const old = $("#head");
  if (old.outerHTML === head.outerHTML) return;
  const held = old.contains(document.activeElement);
  const ended = old.dataset.running === "1" && head.dataset.running === "0";
  old.replaceWith(head);
  if (held) $("button", head)?.focus();
  if (head.dataset.learned !== learned) {
    learned = head.dataset.learned;
    const fact = $(".facts div", head)?.textContent.replace(/\s+/g, " ").trim() ?? "";
    news(`Learned again: the order has changed. ${fact}`.trim());
  } else if (ended && !$("[role=alert]", head)) say("Learned.");
}

function news(text) {
  $("[data-news]").textContent = text;
  const to = new URL(location.href);
  to.searchParams.delete("start");
  $("[data-reload]").href = to.href;
  toast($("#news"), text);
  say(text);
}

async function look() {
  if (document.hidden || unsaved) return;
  const seen = all("[data-row]").map((card) => `${card.dataset.row}:${card.dataset.stamp}`).join(",");
  try {
    const reply = await fetch(`/live?${new URLSearchParams({ seen, order: order() })}`, { headers: { Accept: "application/json" } });
    if (reply.ok && !unsaved) take(await reply.json());
  } catch { /* the server is away; the next round will see */ }
}

async function watch() {
  for (;;) {
    await pause($("#head").dataset.running === "1" ? 500 : LIVE);
    await look();
  }
}

async function learn() {
  const answer = await send("/do/learn");
  if (answer) look();
}

async function put(path, place) {
  try {
    const reply = await fetch(path);
    if (reply.ok) place.innerHTML = await reply.text();
  } catch { problem("The server cannot be reached."); }
}

async function turn(way) {
  const answer = await send(`/do/${way}`);
  if (answer?.rows && $("main > [data-one]")) location.reload();
}

document.addEventListener("click", async (event) => {
  const at = event.target.closest("button, a");
  if (!at) return;
  if (at.dataset.do) turn(at.dataset.do);
  else if ("learn" in at.dataset) learn();
  else if ("help" in at.dataset) $("#help").showModal();
  else if ("later" in at.dataset) $("#news").hidden = true;
  else if ("copy" in at.dataset) {
    const field = document.getElementById(at.dataset.copy);
    field.select();
    if (navigator.clipboard) await navigator.clipboard.writeText(field.value).catch(() => {});
    say("Copied");
    at.textContent = "Copied";
  } else if ("export" in at.dataset) {
    at.disabled = true;
    const answer = await send("/do/export");
    at.disabled = false;
    if (answer) $("[data-exported]").innerHTML = answer.html;
  }
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-goto]")) location.href = event.target.value;
  else if (event.target.matches("[data-shortcuts]")) localStorage.setItem(KEYS, event.target.checked ? "on" : "off");
});

for (const details of all("[data-measures]")) {
  details.addEventListener("toggle", () => { if (details.open) put(details.dataset.measures, $("[data-part]", details)); });
}

// A key by itself, not in a text field, and not taken by a button.
function plainKey(event) {
  const at = event.target;
  if (event.altKey || !shortcuts() || at.closest("input:not([type=checkbox]), select, textarea")) return "";
  if (at.closest("a, button, summary") && (event.key === "Enter" || event.key === " ")) return "";
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.metaKey) {
    if (key === "z") return event.shiftKey ? "y" : "z";
    return key === "y" || key === "a" ? (key === "a" ? "all" : "y") : "";
  }
  return event.shiftKey && /^[a-z]$/.test(key) ? `shift ${key}` : key;
}

document.addEventListener("keydown", (event) => {
  const key = event.defaultPrevented || $("#ask[open], #help[open]") ? "" : plainKey(event);
  let used = true;
  if (key === "z") turn("undo");
  else if (key === "y") turn("redo");
  else if (key === "g") learn();
  else if (key === "?") $("#help").showModal();
  else if (key === "/" && $("[data-search]")) $("[data-search]").focus();
  else if (key === "c" && !$("dialog[open]")) chooseClass();
  else used = false;
  if (used) event.preventDefault();
});

window.addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });

for (const box of all("[data-shortcuts]")) box.checked = shortcuts();
watch();
