"use strict";
// The map: points on a canvas, and shapes drawn around some of them.

const place = $("[data-map]");
const canvas = $("canvas", place);
const peek = $(".peek", place);
const LIGHT = ["#1d4ed8", "#c2410c", "#15803d", "#9333ea", "#be123c", "#0e7490", "#a16207", "#4d7c0f", "#db2777", "#475569", "#7c2d12", "#0f766e"];
const DARK = ["#8fb4ff", "#fb923c", "#4ade80", "#d8b4fe", "#fb7185", "#22d3ee", "#facc15", "#bef264", "#f9a8d4", "#cbd5e1", "#fdba74", "#5eead4"];
const STATUS = ["open", "right", "changed", "unclear", "unusable"];
const RING = 40; // corners of a ring
const dark = matchMedia("(prefers-color-scheme: dark)");

let points = { count: 0 };
let names = [];
let colour = "label";
const shapes = []; // [[x, y], …] in 0 … 1
let chosen = new Uint8Array(0);
const view = { scale: 1, x: 0.5, y: 0.5 }; // the middle of the canvas
const ring = { x: 0.5, y: 0.5, r: 0.06, on: false };
let path = null;

function parse(buffer) {
  const data = new DataView(buffer);
  const count = buffer.byteLength / 12;
  const found = { count, row: new Uint32Array(count), x: new Float32Array(count), y: new Float32Array(count), label: new Uint16Array(count), doubt: new Uint8Array(count), status: new Uint8Array(count) };
  for (let i = 0, at = 0; i < count; i += 1, at += 12) {
    found.row[i] = data.getUint32(at, true);
    found.x[i] = data.getUint16(at + 4, true) / 65535;
    found.y[i] = data.getUint16(at + 6, true) / 65535;
    found.label[i] = data.getUint16(at + 8, true);
    found.doubt[i] = data.getUint8(at + 10);
    found.status[i] = data.getUint8(at + 11);
  }
  return found;
}

const side = () => Math.min(canvas.clientWidth, canvas.clientHeight) * 0.94;
const toScreen = (x, y) => [canvas.clientWidth / 2 + (x - view.x) * side() * view.scale, canvas.clientHeight / 2 + (y - view.y) * side() * view.scale];
const toMap = (sx, sy) => [view.x + (sx - canvas.clientWidth / 2) / (side() * view.scale), view.y + (sy - canvas.clientHeight / 2) / (side() * view.scale)];

// The classes with the most points have colours of their own.
let own = new Map();
function rank() {
  const n = new Map();
  for (const c of points.label) n.set(c, (n.get(c) ?? 0) + 1);
  own = new Map([...n].filter(([c]) => c !== 65535).sort((a, b) => b[1] - a[1]).slice(0, LIGHT.length).map(([c], i) => [c, i]));
}

const grey = () => (dark.matches ? "#4b5563" : "#aab2bf");
const colours = () => (dark.matches ? DARK : LIGHT);

function groupOf(i) {
  if (colour === "label") return own.get(points.label[i]) ?? -1;
  if (colour === "status") return points.status[i] === 0 ? -1 : points.status[i] - 1;
  return Math.min(9, Math.floor(points.doubt[i] / 25.6));
}

function shade(group) {
  if (group < 0) return grey();
  if (colour === "label") return colours()[group];
  if (colour === "status") return colours()[[2, 1, 6, 9][group]];
  const t = group / 9;
  return dark.matches ? `hsl(${210 - 190 * t} 85% ${48 + 18 * t}%)` : `hsl(${215 - 200 * t} 80% ${62 - 20 * t}%)`;
}

let asked = false;
function draw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; paint(); });
}

function paint() {
  const ratio = devicePixelRatio || 1;
  const [w, h] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = w * ratio;
  canvas.height = h * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const size = Math.max(2, Math.min(7, (points.count > 20000 ? 2.2 : points.count > 3000 ? 3.2 : 5) * Math.sqrt(view.scale)));
  const groups = new Map();
  for (let i = 0; i < points.count; i += 1) {
    const group = groupOf(i);
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push(i);
  }
  const any = chosen.some((on) => on);
  for (const group of [...groups.keys()].sort((a, b) => a - b)) {
    pen.fillStyle = shade(group);
    for (const i of groups.get(group)) {
      const [x, y] = toScreen(points.x[i], points.y[i]);
      if (x < -9 || y < -9 || x > w + 9 || y > h + 9) continue;
      pen.globalAlpha = any && !chosen[i] ? 0.22 : 0.85;
      const s = any && chosen[i] ? size + 1.5 : size;
      if (size < 3) pen.fillRect(x - s / 2, y - s / 2, s, s);
      else { pen.beginPath(); pen.arc(x, y, s / 2, 0, 7); pen.fill(); }
    }
  }
  pen.globalAlpha = 1;
  pen.strokeStyle = getComputedStyle(document.body).color;
  pen.lineWidth = 1.5;
  for (const shape of path ? [...shapes, path] : shapes) outline(pen, shape);
  if (ring.on) { pen.setLineDash([5, 4]); outline(pen, circle()); pen.setLineDash([]); }
}

function outline(pen, shape) {
  pen.beginPath();
  for (const [x, y] of shape) pen.lineTo(...toScreen(x, y));
  pen.closePath();
  pen.stroke();
}

const circle = () => Array.from({ length: RING }, (_, i) => [ring.x + ring.r * Math.cos((i / RING) * 2 * Math.PI), ring.y + ring.r * Math.sin((i / RING) * 2 * Math.PI)]);

function within(x, y, shape) {
  let odd = false;
  for (let i = 0, j = shape.length - 1; i < shape.length; j = i, i += 1) {
    const [[ax, ay], [bx, by]] = [shape[i], shape[j]];
    if ((ay > y) !== (by > y) && x < ax + ((y - ay) * (bx - ax)) / (by - ay)) odd = !odd;
  }
  return odd;
}

function add(shape) {
  if (shape.length < 3) return;
  shapes.push(shape.map(([x, y]) => [Number(x.toFixed(5)), Number(y.toFixed(5))]));
  for (let i = 0; i < points.count; i += 1) if (!chosen[i] && within(points.x[i], points.y[i], shape)) chosen[i] = 1;
  tell();
}

function clear() {
  shapes.length = 0;
  chosen.fill(0);
  tell();
}

function tell() {
  const count = chosen.reduce((n, on) => n + on, 0);
  const tops = new Map();
  for (let i = 0; i < points.count; i += 1) if (chosen[i]) tops.set(points.label[i], (tops.get(points.label[i]) ?? 0) + 1);
  $("[data-count]").textContent = shapes.length ? `${count.toLocaleString("en")} of the points drawn` : "No points yet.";
  const best = [...tops].sort((a, b) => b[1] - a[1]).slice(0, 6);
  $("[data-tops]").replaceChildren(...best.map(([c, n]) => {
    const row = document.createElement("li");
    const [word, beside] = [document.createElement("span"), document.createElement("span")];
    word.textContent = names[c] ?? "no label";
    beside.textContent = `${n.toLocaleString("en")} · ${Math.round((100 * n) / count)}%`;
    beside.className = "soft";
    row.append(word, beside);
    return row;
  }));
  for (const button of all("[data-open-choice], [data-clear]")) button.disabled = !shapes.length;
  draw();
}

function legend() {
  const entries = colour === "label" ? [...own].map(([c, i]) => [shade(i), names[c]]) : colour === "status" ? STATUS.map((name, i) => [shade(i - 1), name]) : [[shade(0), "surely right"], [shade(9), "surely wrong"]];
  if (colour === "label" && names.length > own.size) entries.push([grey(), "others"]);
  $("[data-legend]").replaceChildren(...entries.map(([paintOf, word]) => {
    const row = document.createElement("li");
    const dot = document.createElement("i");
    dot.style.background = paintOf;
    row.append(dot, word);
    return row;
  }));
}

async function openChoice() {
  const name = $("[data-name]").value.trim() || "Map selection";
  const answer = await send("/do/lasso", { name, shapes, view: place.dataset.view });
  if (answer) location.href = `/?${new URLSearchParams({ saved: name, status: "all" })}`;
}

function zoom(by, sx = canvas.clientWidth / 2, sy = canvas.clientHeight / 2) {
  if (!by) Object.assign(view, { scale: 1, x: 0.5, y: 0.5 });
  else {
    const [x, y] = toMap(sx, sy);
    view.scale = Math.max(0.7, Math.min(200, view.scale * by));
    const [nx, ny] = toMap(sx, sy);
    view.x += x - nx;
    view.y += y - ny;
  }
  draw();
}

canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
}, { passive: false });

const fingers = new Map();
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, event);
  path = fingers.size === 1 && !event.shiftKey && event.button === 0 ? [toMap(event.offsetX, event.offsetY)] : null;
  peek.hidden = true;
});
canvas.addEventListener("pointermove", (event) => {
  const before = fingers.get(event.pointerId);
  if (!before) { hover(event); return; }
  const [dx, dy] = [event.offsetX - before.offsetX, event.offsetY - before.offsetY];
  if (fingers.size === 2) {
    const other = [...fingers.values()].find((each) => each.pointerId !== event.pointerId);
    const apart = (a) => Math.hypot(a.offsetX - other.offsetX, a.offsetY - other.offsetY);
    zoom(apart(event) / Math.max(apart(before), 1), event.offsetX, event.offsetY);
  }
  if (path) path.push(toMap(event.offsetX, event.offsetY));
  else { view.x -= dx / (side() * view.scale) / fingers.size; view.y -= dy / (side() * view.scale) / fingers.size; }
  fingers.set(event.pointerId, event);
  draw();
});
for (const end of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(end, (event) => {
    fingers.delete(event.pointerId);
    if (path && end === "pointerup") add(path);
    path = null;
    draw();
  });
}

let last = 0;
function hover(event) {
  if (event.pointerType === "touch" || performance.now() - last < 50) return;
  last = performance.now();
  let best = -1;
  let near = 8;
  for (let i = 0; i < points.count; i += 1) {
    const [x, y] = toScreen(points.x[i], points.y[i]);
    const apart = Math.max(Math.abs(x - event.offsetX), Math.abs(y - event.offsetY));
    if (apart < near) { near = apart; best = i; }
  }
  peek.hidden = best < 0;
  if (best < 0) return;
  const source = `/thumb/${points.row[best]}`;
  if (!peek.src.endsWith(source)) peek.src = source;
  peek.style.left = `${Math.min(event.offsetX + 14, canvas.clientWidth - 150)}px`;
  peek.style.top = `${Math.min(event.offsetY + 14, canvas.clientHeight - 150)}px`;
}
canvas.addEventListener("pointerleave", () => { peek.hidden = true; });
peek.addEventListener("error", () => { peek.hidden = true; });

canvas.addEventListener("keydown", (event) => {
  const step = 0.02 / view.scale;
  const way = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
  if (way) { ring.x += way[0]; ring.y += way[1]; }
  else if (event.key === "+" || event.key === "=") ring.r *= 1.2;
  else if (event.key === "-") ring.r /= 1.2;
  else if (event.key === " ") add(circle());
  else if (event.key === "Enter" && shapes.length) openChoice();
  else if (event.key === "Escape") clear();
  else if (event.key === "0") zoom(0);
  else return;
  ring.on = true;
  event.preventDefault();
  event.stopPropagation();
  draw();
});
canvas.addEventListener("blur", () => { ring.on = false; draw(); });

document.addEventListener("click", (event) => {
  const at = event.target.closest("button");
  if (!at) return;
  if (at.dataset.zoomby) zoom(Number(at.dataset.zoomby));
  else if ("openChoice" in at.dataset) openChoice();
  else if ("clear" in at.dataset) clear();
});
$("[data-keep]").addEventListener("submit", (event) => { event.preventDefault(); if (shapes.length) openChoice(); });
$("[data-colour]").addEventListener("change", (event) => { colour = event.target.value; legend(); draw(); });
dark.addEventListener("change", () => { legend(); draw(); });
new ResizeObserver(draw).observe(canvas);

(async () => {
  names = await classes();
  try {
    const reply = await fetch(place.dataset.map);
    points = parse(await reply.arrayBuffer());
  } catch { problem("The map could not be loaded."); return; }
  chosen = new Uint8Array(points.count);
  rank();
  legend();
  draw();
})();
