"use strict";
// What is said of the chosen images; a card shows a verdict once the store has it.

const LAST = "reteach-review-last";
const GUESSES = 3; // on the bar; keys go on to nine
const SETS = $("[data-ask=also]") !== null;
let names = [];

const bar = $("#bar");
const one = () => $("[data-one]", $("#closer[open]") ?? document.createElement("p")) ?? $("main > [data-one]");

// What a verdict is about: the open image, else the chosen cards, else the one with the frame.
function targets() {
  const open = one();
  if (open) return [Number(open.dataset.one)];
  if (chosen.size) return [...chosen];
  const card = cardAt();
  return card ? [rowOf(card)] : [];
}

function holders() {
  const open = one();
  if (open) return [open];
  return targets().map((row) => document.getElementById(`c${row}`)).filter(Boolean);
}

const numbers = (text) => (text ? text.split(" ").map(Number) : []);

// The classes on offer for some images, most likely first: [{column, kind, weight}].
function offers() {
  const held = holders();
  const sum = new Map();
  const has = new Map();
  for (const card of held) {
    for (const part of card.dataset.offers.split(" ")) {
      const [column, percent] = part.split(":").map(Number);
      if (part) sum.set(column, (sum.get(column) ?? 0) + percent);
    }
    for (const column of numbers(card.dataset.now)) has.set(column, (has.get(column) ?? 0) + 1);
  }
  const found = [];
  if (SETS) {
    for (const [column, percent] of sum) {
      const there = has.get(column) === held.length;
      const share = percent / held.length;
      found.push({ column, kind: there ? "not" : "also", weight: there ? 100 - share : share });
    }
  } else {
    for (const [column, percent] of sum) {
      if (has.get(column) !== held.length) found.push({ column, kind: "is", weight: percent / held.length });
    }
  }
  return found.sort((a, b) => b.weight - a.weight).slice(0, 9);
}

const SIGN = { is: "", also: "+ ", not: "− " };

function button(offer, i) {
  const made = document.createElement("button");
  made.dataset.say = offer.kind;
  made.dataset.label = names[offer.column];
  made.textContent = SIGN[offer.kind] + names[offer.column];
  if (offer.kind === "not") made.className = "no";
  const key = document.createElement("kbd");
  key.textContent = String(i + 1);
  key.ariaHidden = "true";
  made.append(key);
  return made;
}

function describe() {
  if (!bar) return;
  const found = targets();
  const count = $("[data-chosen]", bar);
  count.textContent = chosen.size ? `${chosen.size.toLocaleString("en")} chosen` : found.length ? "This image" : "Nothing chosen";
  bar.classList.toggle("many", chosen.size > 0);
  $("[data-guesses]", bar).replaceChildren(...(names.length ? offers().slice(0, GUESSES).map(button) : []));
  const again = last();
  const same = $("[data-again]", bar);
  same.hidden = !again;
  if (again) same.firstChild.textContent = `Same: ${again.label ? SIGN[again.kind] + again.label : again.kind}`;
  const more = $("#many");
  if (more) {
    const page = cards().length;
    const beyond = Number(grid.dataset.found) > page;
    more.hidden = !(beyond && chosen.size >= page);
    $("[data-many]").textContent = chosen.size > page ? `${chosen.size.toLocaleString("en")} images are chosen, also on other pages.` : `All ${page} on this page are chosen.`;
    $("[data-all]", more).hidden = chosen.size > page;
  }
}

function last() {
  try { return JSON.parse(sessionStorage.getItem(LAST)); } catch { return null; }
}

async function decide(kind, label = null, rows = targets()) {
  if (!rows.length) { say("Choose an image first"); return; }
  sessionStorage.setItem(LAST, JSON.stringify({ kind, label }));
  const alone = !one() && !chosen.size;
  const open = one();
  for (const row of rows) document.getElementById(`c${row}`)?.setAttribute("aria-busy", "true");
  const sent = send("/do/decide", { rows, kind, label });
  if (open) await after(open, sent);
  else {
    const from = alone ? cardAt() : cards().find((card) => rows.includes(rowOf(card)));
    if (rows.some((row) => chosen.has(row))) { for (const card of cards()) card.setAttribute("aria-selected", "false"); chosen.clear(); }
    if (alone || rows.length) onward(from);
    changed();
    await sent;
  }
  for (const row of rows) document.getElementById(`c${row}`)?.removeAttribute("aria-busy");
  describe();
  ending();
}

const isOpen = (card) => card.dataset.status === "open" && card.ariaBusy !== "true";

// To the next card that is open, from here on and around.
function onward(from) {
  if (!from) return;
  const row = cards();
  const at = row.indexOf(from);
  const next = [...row.slice(at), ...row.slice(0, at)].find(isOpen);
  if (next) stand(next);
}

// All cards of the page have a verdict: on to the next.
function ending() {
  const next = $("[data-next]");
  if (!next || !("start" in next.dataset) || !grid) return;
  const left = cards().filter((card) => card.dataset.status === "open").length;
  if (!new URLSearchParams(grid.dataset.view).has("status")) { // decided cards have left an open view
    const to = new URL(next.href);
    const start = Number(next.dataset.start) + left;
    if (start) to.searchParams.set("start", String(start));
    else to.searchParams.delete("start");
    next.href = to.href;
  }
  const done = left === 0 && cards().length > 0;
  if (done && !next.classList.contains("primary")) {
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
    say("All images on this page are reviewed. Enter shows the next.");
  }
  next.classList.toggle("primary", done);
}

function rest() {
  const rows = cards().filter((card) => isOpen(card) && !chosen.has(rowOf(card))).map(rowOf);
  if (rows.length) decide("right", null, rows);
  else say("No other image on this page is open");
}

const TITLES = { is: "Is …", also: "Also …", not: "Not …" };

async function ask(kind) {
  const rows = targets();
  if (!rows.length) { say("Choose an image first"); return; }
  if (kind === "tag") { await askTag(rows); return; }
  const likely = new Map(offers().map(({ column, weight, kind: way }) => [column, way === "not" ? 100 - weight : weight]));
  const held = holders();
  const has = (column) => held.length > 0 && held.every((card) => numbers(card.dataset.now).includes(column));
  const options = classes().then((found) => [...found.keys()]
    .filter((column) => (kind === "not" ? held.some((card) => numbers(card.dataset.now).includes(column)) || !held.length : kind !== "also" || !has(column)))
    .sort((a, b) => (likely.get(b) ?? 0) - (likely.get(a) ?? 0) || a - b)
    .map((column) => ({ name: found[column], note: likely.has(column) ? `${Math.round(likely.get(column))}%` : "" })));
  const about = rows.length > 1 ? `${rows.length.toLocaleString("en")} images` : "this image";
  const name = await pick({ title: `${TITLES[kind]} (${about})`, options });
  if (name !== null) await decide(kind, name, rows);
}

async function askTag(rows) {
  const known = (bar?.dataset.tags ?? "").split("\n").filter(Boolean);
  const held = holders();
  const on = (name) => held.length > 0 && held.every((card) => all(".tagged", card).some((tag) => tag.textContent === name));
  const options = known.map((name) => ({ name, note: on(name) ? "take off" : "" }));
  const name = await pick({ title: "Tag", options, free: true, hint: "Enter a new name, or choose one." });
  if (name === null) return;
  const answer = await send("/do/tag", { rows, name, on: !on(name) });
  if (answer && bar && !known.includes(name)) bar.dataset.tags = [...known, name].join("\n");
}

async function save() {
  const rows = [...chosen];
  const title = rows.length ? `Save ${rows.length.toLocaleString("en")} chosen images as a view` : "Save this view";
  const name = await pick({ title, options: [], free: true, hint: "Views are for all reviewers." });
  if (name === null) return;
  const answer = await send("/do/save", { name, rows, view: grid?.dataset.view ?? location.search });
  if (answer) location.href = `/?${new URLSearchParams({ saved: name, status: "all" })}`;
}

function like() {
  const [row] = targets();
  if (row !== undefined) location.href = `/?${new URLSearchParams({ like: row, status: "all" })}`;
}

function again() {
  const found = last();
  if (found) decide(found.kind, found.label);
}

document.addEventListener("click", (event) => {
  const at = event.target.closest("button");
  if (!at) return;
  if (at.dataset.say) decide(at.dataset.say, at.dataset.label ?? null);
  else if (at.dataset.ask) ask(at.dataset.ask);
  else if ("again" in at.dataset) again();
  else if ("rest" in at.dataset) rest();
  else if ("like" in at.dataset) like();
  else if ("save" in at.dataset) save();
});

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || $("#ask[open], #help[open]")) return;
  const key = plainKey(event);
  let used = true;
  if (key === "r") decide("right");
  else if (key === "u") decide("unclear");
  else if (key === "x") decide("unusable");
  else if (key === "i") ask("is");
  else if (key === "a" && SETS) ask("also");
  else if (key === "n" && SETS) ask("not");
  else if (key === "t") ask("tag");
  else if (key === "s") again();
  else if (key === "l") like();
  else if (key === "shift r" && grid) rest();
  else if (/^[1-9]$/.test(key) && one()) all(".offers button", one())[Number(key) - 1]?.click();
  else if (/^[1-9]$/.test(key)) {
    const offer = offers()[Number(key) - 1];
    if (offer && names.length) decide(offer.kind, names[offer.column]);
  } else used = false;
  if (used) event.preventDefault();
});

let counting = 0;
document.addEventListener("chosen", () => {
  describe();
  clearTimeout(counting);
  counting = setTimeout(() => { if (chosen.size) say(`${chosen.size} chosen`); }, 300);
});
document.addEventListener("focusin", () => { if (!chosen.size) describe(); });
document.addEventListener("taken", () => { describe(); ending(); });

classes().then((found) => { names = found; describe(); });
