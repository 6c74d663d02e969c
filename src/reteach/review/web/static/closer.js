"use strict";
// One image, large: zoom by wheel, keys, fingers; verdicts as in the grid.

const MOST = 40; // times its size on the screen
const view = { scale: 1, x: 0, y: 0 };
const stage = () => $("[data-stage]", $("#closer[open]") ?? document);

function draw() {
  const image = $("[data-zoom]", stage() ?? document);
  if (!image) return;
  image.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
  const label = $("[data-scale]", stage());
  label.textContent = view.scale === 1 ? "Fit" : `${Math.round(100 * view.scale)}%`;
}

function fit() { Object.assign(view, { scale: 1, x: 0, y: 0 }); draw(); }

// By a factor, with the point (x, y) of the stage, from its middle, where it is.
function zoom(by, x = 0, y = 0) {
  if (!by) { fit(); return; }
  const scale = Math.max(1, Math.min(MOST, view.scale * by));
  const f = scale / view.scale;
  view.x = scale === 1 ? 0 : x - (x - view.x) * f;
  view.y = scale === 1 ? 0 : y - (y - view.y) * f;
  view.scale = scale;
  draw();
}

function fromMiddle(event) {
  const box = stage().getBoundingClientRect();
  return [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
}

document.addEventListener("wheel", (event) => {
  if (!event.target.closest?.("[data-stage]")) return;
  event.preventDefault();
  zoom(Math.exp(-event.deltaY / 300), ...fromMiddle(event));
}, { passive: false });

const fingers = new Map();
document.addEventListener("pointerdown", (event) => {
  if (!event.target.closest("[data-stage]") || event.target.closest("button")) return;
  fingers.set(event.pointerId, event);
});
document.addEventListener("pointermove", (event) => {
  const before = fingers.get(event.pointerId);
  if (!before) return;
  if (fingers.size === 2) {
    const other = [...fingers.values()].find((each) => each.pointerId !== event.pointerId);
    const apart = (a) => Math.hypot(a.clientX - other.clientX, a.clientY - other.clientY);
    zoom(apart(event) / Math.max(apart(before), 1), ...fromMiddle(event));
  } else if (view.scale > 1) {
    view.x += event.clientX - before.clientX;
    view.y += event.clientY - before.clientY;
    draw();
  }
  fingers.set(event.pointerId, event);
});
for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, (event) => fingers.delete(event.pointerId));

document.addEventListener("dblclick", (event) => {
  if (event.target.closest("[data-stage]") && !event.target.closest("button")) zoom(view.scale > 1 ? 0 : 3, ...fromMiddle(event));
});
document.addEventListener("click", (event) => {
  const at = event.target.closest("[data-zoomby]");
  if (at && stage()?.contains(at)) zoom(Number(at.dataset.zoomby));
  else if (event.target.id === "closer") $("#closer").close();
});

// In a dialog over the grid, or as a page of its own.

async function load(row) {
  const place = $("[data-part]", $("#closer"));
  const address = new URL(`/item/${row}`, location.href);
  address.search = $("#grid")?.dataset.view ?? "";
  address.searchParams.set("part", "true");
  try {
    const reply = await fetch(address);
    if (!reply.ok) return false;
    place.innerHTML = await reply.text();
  } catch { problem("The server cannot be reached."); return false; }
  const close = document.createElement("button");
  close.className = "quiet icon shut";
  close.ariaLabel = "Close";
  close.textContent = "✕";
  close.addEventListener("click", () => $("#closer").close());
  $(".about", place).prepend(close);
  fit();
  return true;
}

async function closer(row) {
  if (!(await load(row))) return;
  const dialog = $("#closer");
  if (!dialog.open) {
    dialog.showModal();
    dialog.addEventListener("close", () => {
      fit();
      const card = document.getElementById(`c${$("[data-one]", dialog)?.dataset.one}`);
      if (card && grid) stand(card);
      describe();
    }, { once: true });
  }
  $("[data-stage]", dialog).focus();
  say($("#one-name", dialog).textContent);
}

function neighbour(row, way) {
  const list = cards();
  const at = list.findIndex((card) => rowOf(card) === row);
  return at < 0 ? undefined : list[at + way];
}

let moving = false;

// After a verdict on the open image: the next open one of the page, or the next page.
async function after(open, sent) {
  moving = true;
  try { await onwardFrom(open, await sent); } finally { moving = false; }
}

async function onwardFrom(open, answer) {
  const row = Number(open.dataset.one);
  if (!$("#closer[open]")) {
    if (answer) ($("[data-next]") ?? $("[data-back]"))?.click();
    return;
  }
  if (!answer) return;
  const list = cards();
  const at = list.findIndex((card) => rowOf(card) === row);
  const next = at < 0 ? null : [...list.slice(at + 1), ...list.slice(0, at)].find(isOpen);
  if (next) await closer(rowOf(next));
  else await load(row);
}

document.addEventListener("taken", () => { // somebody, or an undo, has changed what is open here
  const open = $("#closer[open] [data-one]");
  const card = open && document.getElementById(`c${open.dataset.one}`);
  if (card && card.dataset.stamp !== open.dataset.stamp && !unsaved && !moving) load(Number(open.dataset.one));
});

document.addEventListener("keydown", (event) => {
  const open = one();
  if (!open || event.defaultPrevented || $("#ask[open], #help[open]") || event.target.closest("input, select")) return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
  const side = { ArrowLeft: -1, ArrowRight: 1, PageUp: -1, PageDown: 1 }[event.key];
  let used = true;
  if (moves && view.scale > 1) {
    view.x += moves[0];
    view.y += moves[1];
    draw();
  } else if (side) {
    if ($("#closer[open]")) {
      const next = neighbour(Number(open.dataset.one), side);
      if (next) closer(rowOf(next));
      else say("There is no other on this page");
    } else $(side < 0 ? "[data-prev]" : "[data-next]")?.click();
  } else if (event.key === "+" || event.key === "=") zoom(1.25);
  else if (event.key === "-") zoom(0.8);
  else if (event.key === "0") fit();
  else if (event.key === "Escape" && !$("dialog[open]")) $("[data-back]")?.click();
  else used = false;
  if (used) event.preventDefault();
});

document.addEventListener("click", (event) => {
  const at = event.target.closest("a[data-look]");
  if (!at || !$("#closer").contains(at) || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  closer(Number(at.dataset.look));
});
