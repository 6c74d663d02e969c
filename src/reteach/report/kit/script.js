"use strict";
// Comfort only: without this script every table is there, in the order in which it was written.

function value(row, column) {
  const text = row.cells[column] ? row.cells[column].textContent.trim() : "";
  const number = parseFloat(text.replace(/,/g, "").replace("−", "-").replace("+", ""));
  return [number, text];
}

function sortBy(table, header) {
  const column = header.cellIndex;
  const textual = header.hasAttribute("data-text");
  const first = textual ? "ascending" : "descending";
  const second = textual ? "descending" : "ascending";
  const order = header.getAttribute("aria-sort") === first ? second : first;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  for (const body of table.tBodies) {
    const rows = Array.from(body.rows).filter((row) => !row.hasAttribute("data-group"));
    const keyed = rows.map((row) => [value(row, column), row]);
    keyed.sort(([a], [b]) => {
      if (textual) return sign * a[1].localeCompare(b[1], "en", { numeric: true });
      if (isNaN(a[0]) || isNaN(b[0])) return isNaN(a[0]) - isNaN(b[0]);  // dashes last
      return sign * (a[0] - b[0]);
    });
    body.append(...keyed.map(([, row]) => row));
  }
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const header of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sortBy(table, header));
    header.append(button);
  }
}

for (const table of document.querySelectorAll("table[data-filter]")) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  const count = document.createElement("output");
  label.className = "filter";
  input.type = "search";
  label.append(table.dataset.filter + " ", input, count);
  (table.closest(".scroll") || table).before(label);
  const rows = Array.from(table.tBodies[0].rows);
  const names = rows.map((row) => row.cells[0].textContent.toLowerCase());
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    let shown = 0;
    rows.forEach((row, i) => {
      row.hidden = !names[i].includes(wanted);
      shown += row.hidden ? 0 : 1;
    });
    count.value = wanted ? shown + " of " + rows.length : "";
  });
}

for (const command of document.querySelectorAll("pre.command")) {
  if (!navigator.clipboard) break;
  const copy = document.createElement("button");
  copy.type = "button";
  copy.textContent = "Copy";
  const text = command.textContent;
  copy.addEventListener("click", () => {
    navigator.clipboard.writeText(text).then(() => {
      copy.textContent = "Copied";
      setTimeout(() => { copy.textContent = "Copy"; }, 1500);
    });
  });
  command.append(copy);
}

window.addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details[data-print]")) part.open = true;
});
