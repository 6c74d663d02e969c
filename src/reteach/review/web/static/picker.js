"use strict";
// Type ahead: a few letters, and the name that is meant is on top.

const OFFERED = 50;
let classNames = null;

async function classes() {
  classNames ??= fetch("/classes.json").then((reply) => reply.json()).catch(() => { classNames = null; return []; });
  return classNames;
}

// Lower is better; null: not at all. Of equal ones, the order in which they are offered decides.
function distance(name, text) {
  const low = name.toLowerCase();
  if (low === text) return 0;
  if (low.startsWith(text)) return 1;
  if (low.split(/[\s_,./-]+/).some((word) => word.startsWith(text))) return 2;
  if (low.includes(text)) return 3;
  let at = -1;
  for (const letter of text) {
    at = low.indexOf(letter, at + 1);
    if (at < 0) return null;
  }
  return 4;
}

function best(options, text) {
  const found = options
    .map((option, i) => ({ option, i, d: distance(option.name, text) }))
    .filter(({ d }) => d !== null);
  return found.sort((a, b) => a.d - b.d || a.i - b.i).map(({ option }) => option);
}

// Ask for one of some names; null: for none after all. Names may come later: what is typed meanwhile stays here.
function pick({ title, options, free = false, hint = "" }) {
  const dialog = $("#ask");
  const [text, list] = [$("#ask-text"), $("#ask-list")];
  $("#ask-title").textContent = title;
  $("[data-hint]", dialog).textContent = hint;
  text.value = "";
  let offered = null;
  let entered = false; // Enter was pressed before the names were there
  let shown = [];
  let active = 0;

  function mark(to) {
    active = Math.max(0, Math.min(to, shown.length - 1));
    for (const [i, row] of [...list.children].entries()) {
      row.setAttribute("aria-selected", String(i === active && shown.length > 0));
      if (i === active) row.scrollIntoView({ block: "nearest" });
    }
    if (shown.length) text.setAttribute("aria-activedescendant", `ask-${active}`);
    else text.removeAttribute("aria-activedescendant");
  }

  function draw() {
    const typed = text.value.trim();
    shown = best(offered ?? [], typed.toLowerCase()).slice(0, OFFERED);
    if (offered && free && typed && !offered.some(({ name }) => name === typed)) shown.push({ name: typed, note: "new" });
    list.replaceChildren(...shown.map(({ name, note }, i) => {
      const row = document.createElement("li");
      row.id = `ask-${i}`;
      row.role = "option";
      row.dataset.pick = String(i);
      const [word, beside] = [document.createElement("span"), document.createElement("small")];
      word.textContent = name;
      beside.textContent = note ?? "";
      row.append(word, beside);
      return row;
    }));
    if (!shown.length) {
      const row = document.createElement("li");
      row.className = "none";
      row.textContent = !offered ? "Loading the names …" : free ? "Type a name" : "There is none";
      list.append(row);
    }
    mark(0);
  }

  return new Promise((done) => {
    const stop = new AbortController();
    const { signal } = stop;
    const end = (answer) => { stop.abort(); done(answer); };
    // Not left to the event "close": it comes later than a key that is typed ahead.
    const take = (i) => { if (shown[i]) { dialog.close(); end(shown[i].name); } };
    text.addEventListener("input", () => { entered = false; draw(); }, { signal });
    text.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key];
      if (step) mark(active + step);
      else if (event.key === "Enter" && !offered) entered = true;
      else if (event.key === "Enter") take(active);
      else return;
      event.preventDefault();
    }, { signal });
    list.addEventListener("click", (event) => {
      const row = event.target.closest("[data-pick]");
      if (row) take(Number(row.dataset.pick));
    }, { signal });
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); }, { signal });
    dialog.addEventListener("close", () => { if (!dialog.open) end(null); }, { signal }); // not that of the last question
    Promise.resolve(options).then((names) => {
      if (signal.aborted) return;
      offered = names;
      draw();
      if (entered) take(active);
    });
    draw();
    dialog.showModal();
    text.focus();
  });
}

async function chooseClass() {
  const options = classes().then((found) => [{ name: "All classes" }, ...found.map((name) => ({ name }))]);
  const name = await pick({ title: "Go to a class", options });
  if (name === null) return;
  const to = new URL("/", location.href);
  if (name !== "All classes") to.searchParams.set("label", name);
  location.href = to.href;
}
