"use strict";
// Rating without reloading: every key and every click does what the plain form does, only faster.

const $ = (query, within = document) => within.querySelector(query);
const all = (query, within = document) => [...within.querySelectorAll(query)];
const KEYS = "reteach-shortcuts";
const PATIENCE = 15000; // ms until a try counts as lost
const LARGEST = 12; // times an image's own size

let unsaved = false;

const say = (text) => { $("#status").textContent = text; };
const shortcuts = () => localStorage.getItem(KEYS) !== "off";
const rows = () => all("[data-row]");
const answered = (row) => $("input:checked", row) !== null;

// The row that a key answers: the one with the focus, else the first without an answer.
function current() {
  const focused = document.activeElement?.closest("[data-row]");
  return focused ?? rows().find((row) => !answered(row)) ?? null;
}

function mark() {
  const row = current();
  for (const each of rows()) each.toggleAttribute("data-active", each === row);
}

function enter(row) {
  const input = $("input:checked", row) ?? $("input", row);
  input.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
  mark();
}

function answer(key) {
  const row = current() ?? rows()[0];
  const input = row && $(`input[data-key="${key}"]`, row);
  if (!input) return false;
  input.checked = true;
  problem("");
  const after = rows();
  const from = after.indexOf(row) + 1;
  const next = [...after.slice(from), ...after.slice(0, from)].find((each) => !answered(each));
  if (next) enter(next);
  else { $("[data-save]").focus({ preventScroll: true }); mark(); }
  return true;
}

function problem(text) {
  const place = $("#problem");
  if (!place) return;
  place.textContent = text;
  place.hidden = !text;
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function post(form, body) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), PATIENCE);
  try {
    return await fetch(form.action, { method: "POST", body, signal: stop.signal });
  } finally {
    clearTimeout(timer);
  }
}

// Sends until the server has answered: the same answers again are one answer to it.
async function save(form) {
  if (unsaved) return;
  const open = rows().find((row) => !answered(row));
  if (open) {
    problem("Please answer every label first.");
    enter(open);
    return;
  }
  const body = new URLSearchParams(new FormData(form));
  unsaved = true;
  form.setAttribute("aria-busy", "true");
  form.inert = true;
  for (let wait = 1000; ; wait = Math.min(2 * wait, 8000)) {
    try {
      const reply = await post(form, body);
      if (reply.status < 500 && reply.status !== 429) {
        const text = await reply.text();
        unsaved = false;
        show(text, reply.url);
        return;
      }
    } catch { /* no connection: the same as an answer that says so */ }
    problem("Not saved yet: the server cannot be reached. Trying again …");
    await pause(wait);
  }
}

function show(text, url) {
  const page = new DOMParser().parseFromString(text, "text/html");
  for (const id of ["top", "main"]) $(`#${id}`).replaceWith($(`#${id}`, page));
  document.body.className = page.body.className;
  document.title = page.title;
  history.replaceState(null, "", url);
  begin();
  $("h1")?.focus({ preventScroll: true });
  window.scrollTo(0, 0);
  const progress = $(".progress");
  say(progress ? `Saved. ${progress.textContent.replace(/\s+/g, " ").trim()}.` : $("h1")?.textContent ?? "");
}

// Once per page, loaded or swapped in.
function begin() {
  const photo = $("[data-photo]");
  if (photo) {
    const gone = () => {
      const note = $("#vanished").content.cloneNode(true);
      $("[data-task]").replaceWith(note);
      say($("h1").textContent);
    };
    const fit = () => { // tiny images blown up to the whole screen are harder to see
      photo.style.maxWidth = `${LARGEST * photo.naturalWidth}px`;
      photo.style.maxHeight = `${LARGEST * photo.naturalHeight}px`;
    };
    if (!photo.complete) {
      photo.addEventListener("error", gone);
      photo.addEventListener("load", fit);
    } else if (photo.naturalWidth) fit();
    else gone();
  }
  const box = $("[data-shortcuts]");
  if (box) box.checked = shortcuts();
  mark();
}

document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-task]")) return;
  event.preventDefault();
  save(event.target);
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-shortcuts]")) {
    localStorage.setItem(KEYS, event.target.checked ? "on" : "off");
  } else if (event.target.closest("[data-row]")) {
    problem("");
    mark();
  }
});

document.addEventListener("focusin", mark);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || !shortcuts()) return;
  const at = event.target;
  if (at.closest("a, button, summary") && (event.key === "Enter" || event.key === " ")) return;
  const form = $("[data-task]");
  const key = event.key.toLowerCase();
  let used = true;
  if (!form) {
    if (key === "enter" && $("[data-enter]")) $("[data-enter]").click();
    else used = false;
  } else if (form.inert) used = false;
  else if (key === "enter") save(form);
  else if (key === "backspace") {
    if ($("[data-back]")) $("[data-back]").click();
  } else if (key === "p") $("[data-pause]").click();
  else if (key === "e") {
    const more = $("details", current() ?? document.createElement("p"));
    if (more) more.open = !more.open;
  } else if (/^[1-9]$/.test(key) && rows()[key - 1]) enter(rows()[key - 1]);
  else used = /^[a-z]$/.test(key) && answer(key);
  if (used) event.preventDefault();
});

window.addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });

begin();
