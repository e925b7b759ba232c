"use strict";
// Sorting, searching and choosing ROC curves; without it the page is whole, and in column order.

const valueOf = (cell) => cell.dataset.value ?? cell.textContent.trim();

/** Numbers as numbers, names as a reader sorts them; what has no value comes last either way. */
function compare(a, b, number, sign) {
  if (a === "" || b === "") return (a === "") - (b === "");
  return sign * (number ? a - b : a.localeCompare(b, undefined, { numeric: true }));
}

function sortBy(header) {
  const table = header.closest("table");
  const number = header.classList.contains("number");
  const before = header.getAttribute("aria-sort");
  // The first click gives what is looked for: names from A, numbers from the highest.
  const descending = before ? before === "ascending" : number;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const body = table.tBodies[0];
  const keyed = Array.from(body.rows, (row) => [valueOf(row.cells[header.cellIndex]), row]);
  keyed.sort(([a], [b]) => compare(a, b, number, descending ? -1 : 1));
  body.append(...keyed.map(([, row]) => row));
}

for (const header of document.querySelectorAll("table.sortable thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...header.childNodes);
  button.addEventListener("click", () => sortBy(header));
  header.append(button);
}

for (const search of document.querySelectorAll("input[type=search]")) {
  const rows = Array.from(document.getElementById(search.dataset.table).tBodies[0].rows);
  const count = search.parentElement.querySelector("output");
  const apply = () => {
    const wanted = search.value.trim().toLocaleLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLocaleLowerCase().includes(wanted);
    const left = rows.filter((row) => !row.hidden).length;
    count.textContent = wanted ? `${left} of ${rows.length}` : "";
  };
  search.parentElement.hidden = false;
  search.addEventListener("input", apply);
  apply();
}

const partsOf = (box) => ["roc", "key"].map((part) => document.getElementById(`${part}-${box.dataset.column}`));

for (const box of document.querySelectorAll("input[data-column]:not(:disabled)")) {
  const parts = partsOf(box);
  const show = () => parts.forEach((part) => part.classList.toggle("on", box.checked));
  box.addEventListener("change", show);
  show();
  const row = box.closest("tr");
  for (const [event, lit] of [["mouseenter", true], ["mouseleave", false], ["focusin", true], ["focusout", false]])
    row.addEventListener(event, () => parts.forEach((part) => part.classList.toggle("lit", lit)));
}

for (const clear of document.querySelectorAll("button.clear"))
  clear.addEventListener("click", () => {
    for (const box of document.querySelectorAll("input[data-column]:checked")) box.click();
  });
