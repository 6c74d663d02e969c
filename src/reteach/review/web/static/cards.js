"use strict";
// Choosing cards of the grid: by click, with shift, by dragging a frame, by keys.

const FAR = 6; // pixels from which a press is a drag
const grid = $("#grid");
const chosen = new Set();
let anchor = null;

const cards = () => (grid ? all(".card", grid) : []);
const cardAt = () => (grid?.contains(document.activeElement) ? document.activeElement.closest(".card") : null) ?? $('.card[tabindex="0"]', grid ?? document.createElement("p"));
const rowOf = (card) => Number(card.dataset.row);

function choose(card, on) {
  card.setAttribute("aria-selected", String(on));
  if (on) chosen.add(rowOf(card));
  else chosen.delete(rowOf(card));
}

function chooseNone() {
  for (const card of cards()) card.setAttribute("aria-selected", "false");
  chosen.clear();
  changed();
}

function chooseGroup(group) {
  for (const card of all(".card", group)) choose(card, true);
  stand($(".card", group), false);
  changed();
}

function changed() {
  document.dispatchEvent(new Event("chosen"));
}

function stand(card, scroll = true) {
  for (const other of all('.card[tabindex="0"]', grid)) other.tabIndex = -1;
  card.tabIndex = 0;
  card.focus({ preventScroll: true });
  if (scroll) card.scrollIntoView({ block: "nearest" });
}

function chooseTo(card) {
  const row = cards();
  const [a, b] = [row.indexOf(anchor?.isConnected ? anchor : card), row.indexOf(card)];
  for (const each of row.slice(Math.min(a, b), Math.max(a, b) + 1)) choose(each, true);
}

function press(card, shift) {
  if (shift) chooseTo(card);
  else {
    choose(card, card.getAttribute("aria-selected") !== "true");
    anchor = card;
  }
  changed();
}

// The card above or below: the one in the next line whose middle is nearest.
function beside(card, way) {
  const row = cards();
  const at = row.indexOf(card);
  if (way === "ArrowLeft") return row[at - 1];
  if (way === "ArrowRight") return row[at + 1];
  if (way === "Home") return row[0];
  if (way === "End") return row.at(-1);
  const box = card.getBoundingClientRect();
  const middle = box.left + box.width / 2;
  const down = way === "ArrowDown";
  let best = null;
  for (const other of row) {
    const there = other.getBoundingClientRect();
    if (down ? there.top <= box.top + 1 : there.top >= box.top - 1) continue;
    const score = Math.abs(there.top - box.top) * 1e4 + Math.abs(there.left + there.width / 2 - middle);
    if (!best || score < best.score) best = { other, score };
  }
  return best?.other;
}

document.addEventListener("keydown", (event) => {
  if (!grid || event.defaultPrevented || $("dialog[open]")) return;
  const at = event.target;
  if (at.closest("input, select, textarea") || event.altKey) return;
  const key = event.key;
  const card = cardAt() ?? cards()[0];
  let used = true;
  if (/^(Arrow|Home|End)/.test(key) && card && !event.ctrlKey && !event.metaKey) {
    if (at.closest("aside, nav, details")) return;
    const to = grid.contains(at) ? beside(card, key) : card;
    if (to) {
      if (event.shiftKey) {
        if (!anchor?.isConnected) anchor = card;
        choose(card, true);
        chooseTo(to);
      } else anchor = null;
      stand(to);
      changed();
    } else if (key === "ArrowRight") return;
  } else if (key === " " && grid.contains(at)) press(card, event.shiftKey);
  else if (key === "Enter" && grid.contains(at)) closer(rowOf(card));
  else if (plainKey(event) === "k" && card?.closest(".group")) chooseGroup(card.closest(".group"));
  else if (key === "Escape" && chosen.size) chooseNone();
  else if (plainKey(event) === "all" && card) {
    for (const each of cards()) choose(each, true);
    if (!grid.contains(at)) stand(card, false);
    changed();
  } else if (key === "PageDown" && $("[data-next]")) $("[data-next]").click();
  else if (key === "PageUp" && $("[data-prev]")) $("[data-prev]").click();
  else used = false;
  if (used) event.preventDefault();
});

// The frame: from where the mouse goes down to where it is, also over the space between the cards.

let band = null;
let dragged = false;

function frame(event) {
  const [x, y] = [event.pageX, event.pageY];
  const [left, top] = [Math.min(x, band.x), Math.min(y, band.y)];
  Object.assign(band.element.style, {
    left: `${left}px`, top: `${top}px`, width: `${Math.abs(x - band.x)}px`, height: `${Math.abs(y - band.y)}px`,
  });
  const [right, bottom] = [Math.max(x, band.x), Math.max(y, band.y)];
  for (const card of cards()) {
    const box = card.getBoundingClientRect();
    const [cx, cy] = [box.left + scrollX, box.top + scrollY];
    const within = cx < right && cx + box.width > left && cy < bottom && cy + box.height > top;
    choose(card, band.off ? band.before.has(rowOf(card)) && !within : band.before.has(rowOf(card)) || within);
  }
  changed();
  const edge = 48;
  if (event.clientY < edge) scrollBy(0, -12);
  else if (event.clientY > innerHeight - edge - 60) scrollBy(0, 12);
}

document.addEventListener("pointerdown", (event) => {
  dragged = false;
  const page = event.target.closest("section.page");
  const apart = event.target.closest("a, button, input, select, summary, label, nav, form, h1, .chips");
  if (!grid || !page || event.button !== 0 || event.pointerType === "touch" || (apart && !apart.closest(".card"))) return;
  band = { x: event.pageX, y: event.pageY, before: new Set(chosen), off: event.altKey, element: null };
  if (!event.target.closest(".card")) event.preventDefault();
});

document.addEventListener("pointermove", (event) => {
  if (!band) return;
  if (!band.element) {
    if (Math.hypot(event.pageX - band.x, event.pageY - band.y) < FAR) return;
    band.element = document.createElement("div");
    band.element.className = "band";
    document.body.append(band.element);
    document.body.classList.add("dragging");
    dragged = true;
  }
  frame(event);
});

for (const end of ["pointerup", "pointercancel"]) {
  document.addEventListener(end, () => {
    band?.element?.remove();
    document.body.classList.remove("dragging");
    band = null;
  });
}

grid?.addEventListener("click", (event) => {
  if (dragged) { event.preventDefault(); return; }
  if (event.target.closest("[data-group]")) {
    chooseGroup(event.target.closest(".group"));
    return;
  }
  const card = event.target.closest(".card");
  if (!card) return;
  if (event.target.closest("[data-look]")) {
    if (event.ctrlKey || event.metaKey) return; // a tab of its own
    event.preventDefault();
    closer(rowOf(card));
    return;
  }
  stand(card, false);
  press(card, event.shiftKey);
});

grid?.addEventListener("dblclick", (event) => {
  const card = event.target.closest(".card");
  if (card && !event.target.closest("[data-look]")) closer(rowOf(card));
});

grid?.addEventListener("error", (event) => {
  const image = event.target;
  if (!(image instanceof HTMLImageElement)) return;
  const note = document.createElement("span");
  note.className = "nameonly";
  note.textContent = "cannot be shown";
  image.replaceWith(note);
}, true);

// Small pictures, large ones: kept in this browser.

const SIZE = "reteach-review-size";

function resize(size) {
  document.body.classList.remove("size-s", "size-m", "size-l");
  document.body.classList.add(`size-${size}`);
  for (const button of all("[data-size]")) button.setAttribute("aria-pressed", String(button.dataset.size === size));
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.size) {
    localStorage.setItem(SIZE, button.dataset.size);
    resize(button.dataset.size);
  } else if (button && "all" in button.dataset) {
    const reply = await fetch(`/rows${grid.dataset.view}`, { headers: { Accept: "application/json" } });
    const answer = await reply.json();
    if (!reply.ok) { problem(`${answer.title}: ${answer.text}`); return; }
    for (const row of answer.rows) chosen.add(row);
    for (const card of cards()) card.setAttribute("aria-selected", String(chosen.has(rowOf(card))));
    changed();
  }
});

resize(localStorage.getItem(SIZE) ?? "m");
if (cards().length) {
  cards()[0].tabIndex = 0;
  if (!location.hash) cards()[0].focus({ preventScroll: true });
}
const fold = $("[data-fold]");
if (fold && matchMedia("(max-width: 56rem)").matches) fold.open = false;
