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

// All labels that have no answer yet are not there.
function restAreNo() {
  const open = rows().filter((row) => !answered(row));
  if (!open.length) return;
  for (const row of open) $('input[data-key="n"]', row).checked = true;
  problem("");
  say(`${open.length} answered with no.`);
  $("[data-save]").focus({ preventScroll: true });
  mark();
}

// Zoom: the image at its own size or three times what fits, moved by dragging, scrolling or arrow keys.

let zoomed = null; // {scale, x, y}: y and x in shares of the image from its middle

function place() {
  const photo = $("[data-photo]");
  if (!photo) return;
  photo.style.transform = zoomed ? `scale(${zoomed.scale}) translate(${zoomed.x}%, ${zoomed.y}%)` : "";
  $("[data-frame]").toggleAttribute("data-zoomed", Boolean(zoomed));
  const button = $("[data-zoom]");
  button.setAttribute("aria-pressed", String(Boolean(zoomed)));
  $("[data-zoom-word]").textContent = zoomed ? "Whole" : "Zoom";
}

function zoom(scale, event) {
  const photo = $("[data-photo]");
  if (!photo) return;
  const before = zoomed ?? { scale: 1, x: 0, y: 0 };
  const to = Math.min(Math.max(scale, 1), 12);
  if (to <= 1.01) zoomed = null;
  else {
    const box = $("[data-frame]").getBoundingClientRect();
    // what is under the pointer stays there
    const dx = event ? (event.clientX - box.left - box.width / 2) / photo.offsetWidth : 0;
    const dy = event ? (event.clientY - box.top - box.height / 2) / photo.offsetHeight : 0;
    const shift = 100 * (1 / to - 1 / before.scale);
    zoomed = { scale: to, x: before.x + dx * shift, y: before.y + dy * shift };
    move(0, 0);
  }
  place();
}

function move(dx, dy) {
  if (!zoomed) return;
  const within = (value) => Math.min(Math.max(value, -50), 50); // its edge comes to the middle at most
  zoomed.x = within(zoomed.x + dx / zoomed.scale);
  zoomed.y = within(zoomed.y + dy / zoomed.scale);
  place();
}

const toggleZoom = (event) => zoom(zoomed ? 1 : 3, event);

// Something else is here: classes found as one types.

const chosen = new Map(); // class -> title
let hits = [];
let at = -1;
let asked = 0;
let awaited = false; // the hits on the screen are those of fewer letters than are typed
let entered = false; // Enter was pressed meanwhile: it means the first hit of what is typed

function showHits(found) {
  hits = found.filter((hit) => !chosen.has(hit.id));
  at = hits.length ? 0 : -1;
  const list = $("#hits");
  list.replaceChildren(...hits.map((hit, k) => {
    const line = document.createElement("li");
    line.id = `hit${k}`;
    line.setAttribute("role", "option");
    line.dataset.hit = k;
    const name = document.createElement("b");
    name.textContent = hit.title;
    line.append(name);
    if (hit.about) {
      const about = document.createElement("small");
      about.textContent = ` ${hit.about}`;
      line.append(about);
    }
    return line;
  }));
  list.hidden = !hits.length;
  point();
}

function point() {
  const input = $("[data-find]");
  all("[data-hit]").forEach((line, k) => line.setAttribute("aria-selected", String(k === at)));
  input.setAttribute("aria-expanded", String(hits.length > 0));
  if (at >= 0) {
    input.setAttribute("aria-activedescendant", `hit${at}`);
    $(`#hit${at}`).scrollIntoView({ block: "nearest" });
  } else input.removeAttribute("aria-activedescendant");
}

// Whatever was asked before is not awaited any more.
function forget() {
  asked += 1;
  awaited = entered = false;
}

async function look(words) {
  forget();
  if (!words.trim()) return showHits([]);
  const mine = asked;
  awaited = true;
  let found = null; // no connection: the name can be typed whole
  try {
    const reply = await fetch(`/classes?q=${encodeURIComponent(words)}`);
    found = reply.ok ? await reply.json() : null;
  } catch { /* as said */ }
  if (mine !== asked) return;
  const meant = entered;
  forget();
  showHits(found ?? []);
  if (meant) choose(hits[at]);
  if (!found) say("The classes cannot be looked up now. Type the whole name.");
  else if (!found.length) say("No class has this name.");
}

function choose(hit) {
  if (!hit) return;
  chosen.set(hit.id, hit.title);
  $("[data-find]").value = "";
  forget();
  showHits([]);
  listChosen();
  say(`${hit.title} added.`);
}

function listChosen() {
  const field = $("[data-others]");
  if (!field) return;
  field.value = [...chosen.keys()].join(",");
  $("[data-chosen]").replaceChildren(...[...chosen].map(([id, title]) => {
    const line = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.drop = id;
    button.textContent = title.split(", ")[0];
    button.setAttribute("aria-label", `Remove ${title}`);
    line.append(button);
    return line;
  }));
}

// Time in which the page is seen and used.

const IDLE = 30000; // ms without a sign of life
let used = 0;
let last = performance.now();
let sign = last;

function tick(alive) {
  const now = performance.now();
  if (!document.hidden && now - sign < IDLE) used += now - last;
  last = now;
  if (alive) sign = now;
}

for (const name of ["pointermove", "pointerdown", "keydown", "wheel", "scroll", "touchmove"]) {
  document.addEventListener(name, () => tick(true), { passive: true, capture: true });
}
document.addEventListener("visibilitychange", () => { // time away is not counted from either side
  if (document.hidden) used += Math.max(0, performance.now() - sign < IDLE ? performance.now() - last : 0);
  last = sign = performance.now();
});

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
async function save(form, what = "save") {
  if (unsaved) return;
  const open = rows().find((row) => !answered(row));
  if (open && what === "save") {
    problem("Please answer every label first.");
    enter(open);
    return;
  }
  tick(false);
  $("[data-active-time]").value = (used / 1000).toFixed(1);
  const body = new URLSearchParams(new FormData(form));
  body.set("do", what);
  unsaved = true;
  form.setAttribute("aria-busy", "true");
  form.inert = true;
  for (let wait = 1000; ; wait = Math.min(2 * wait, 8000)) {
    try {
      const reply = await post(form, body);
      if (reply.status < 500 && reply.status !== 429) {
        const text = await reply.text();
        unsaved = false;
        if (reply.status === 422) { // the answers are still here: mend what was typed, and save again
          form.inert = false;
          form.removeAttribute("aria-busy");
          const page = new DOMParser().parseFromString(text, "text/html");
          problem($(".lead", page)?.textContent ?? "Nothing was saved.");
          return;
        }
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
  used = 0;
  last = sign = performance.now();
  zoomed = null;
  chosen.clear();
  hits = [];
  forget();
  for (const button of all("[data-rest], [data-zoom]")) button.hidden = false;
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
  save(event.target, event.submitter?.value === "skip" ? "skip" : "save");
});

document.addEventListener("click", (event) => {
  const target = event.target;
  if (target.closest("[data-rest]")) restAreNo();
  else if (target.closest("[data-zoom]")) toggleZoom();
  else if (target.closest("[data-hit]")) choose(hits[Number(target.closest("[data-hit]").dataset.hit)]);
  else if (target.closest("[data-drop]")) {
    chosen.delete(Number(target.closest("[data-drop]").dataset.drop));
    listChosen();
    $("[data-find]").focus();
  }
});

document.addEventListener("input", (event) => {
  if (event.target.matches("[data-find]")) look(event.target.value);
});

let drag = null;
document.addEventListener("pointerdown", (event) => {
  const frame = event.target.closest("[data-frame]");
  if (!frame || event.target.closest("[data-zoom]") || event.button) return;
  drag = { x: event.clientX, y: event.clientY, moved: false, id: event.pointerId, touch: event.pointerType !== "mouse" };
  if (zoomed) event.preventDefault();
});
document.addEventListener("pointermove", (event) => {
  if (!drag || event.pointerId !== drag.id) return;
  const dx = event.clientX - drag.x;
  const dy = event.clientY - drag.y;
  if (Math.abs(dx) + Math.abs(dy) > 4) drag.moved = true;
  if (!zoomed || !drag.moved) return;
  const photo = $("[data-photo]");
  move((100 * dx) / photo.offsetWidth, (100 * dy) / photo.offsetHeight);
  drag.x = event.clientX;
  drag.y = event.clientY;
});
document.addEventListener("pointerup", (event) => {
  if (drag && event.pointerId === drag.id && !drag.moved) toggleZoom(event);
  drag = null;
});
document.addEventListener("pointercancel", () => { drag = null; });
document.addEventListener("wheel", (event) => {
  if (!event.target.closest?.("[data-frame]") || !(zoomed || event.ctrlKey || event.deltaY < 0)) return;
  event.preventDefault();
  zoom((zoomed?.scale ?? 1) * Math.exp(-event.deltaY / 300), event);
}, { passive: false });

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-shortcuts]")) {
    localStorage.setItem(KEYS, event.target.checked ? "on" : "off");
  } else if (event.target.closest("[data-row]")) {
    problem("");
    mark();
  }
});

document.addEventListener("focusin", mark);

function unfold(details, where) {
  details.open = true;
  const field = $(where, details);
  field.focus({ preventScroll: true });
  details.scrollIntoView({ block: "nearest" });
}

// Keys in the field of classes; whether one was used up there.
function inFinder(event) {
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    if (!hits.length) return true;
    forget(); // one of those on the screen is meant
    at = (at + (event.key === "ArrowDown" ? 1 : hits.length - 1)) % hits.length;
    point();
    return true;
  }
  if (event.key === "Enter") {
    if (awaited) entered = true;
    else choose(hits[at]);
    return true;
  }
  if (event.key === "Escape" && hits.length) {
    forget();
    showHits([]);
    return true;
  }
  return false;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || !shortcuts()) return;
  const on = event.target;
  if (on.matches("[data-find]") && inFinder(event)) return event.preventDefault();
  if (on.matches("textarea, input[type=text]")) {
    if (event.key === "Escape") {
      on.closest("details").open = false;
      on.closest("details").querySelector("summary").focus();
    }
    return;
  }
  if (on.closest("a, button, summary") && (event.key === "Enter" || event.key === " ")) return;
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
  else if (key === "z" && $("[data-zoom]")) toggleZoom();
  else if (key === "s" && $("[data-skip]")) save(form, "skip");
  else if (key === "r" && $("[data-rest]")) restAreNo();
  else if (key === "a" && $("[data-other]")) unfold($("[data-other]"), "[data-find]");
  else if (key === "f" && $("[data-remark]")) unfold($("[data-remark]"), "textarea");
  else if (zoomed && key.startsWith("arrow") && !on.matches("input[type=radio]")) {
    move({ arrowleft: 15, arrowright: -15 }[key] ?? 0, { arrowup: 15, arrowdown: -15 }[key] ?? 0);
  }
  else if (key === "e") {
    const more = $("details", current() ?? document.createElement("p"));
    if (more) more.open = !more.open;
  } else if (/^[1-9]$/.test(key) && rows()[key - 1]) enter(rows()[key - 1]);
  else used = /^[a-z]$/.test(key) && answer(key);
  if (used) event.preventDefault();
});

window.addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });

begin();
