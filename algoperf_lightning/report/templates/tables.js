// Tables. A click on a header sorts by its column; a second click reverses the order.
const order = new Intl.Collator("en", { numeric: true });

/** Compare values: numbers, then texts; empty fields are last in both orders. */
function compare(a, b, sign) {
  if (a === "" || b === "") return (a === "") - (b === "");
  const [x, y] = [Number(a), Number(b)];
  if (!Number.isNaN(x) && !Number.isNaN(y)) return sign * (x === y ? 0 : x - y);
  return sign * order.compare(a, b);
}

function sortTable(table, column, header) {
  const descending = header.getAttribute("aria-sort") === "ascending";
  const body = table.tBodies[0];
  const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const rows = [...body.rows].sort((a, b) => compare(key(a), key(b), descending ? -1 : 1));
  for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  body.append(...rows);
}

/** Fade the right edge of a table that can be scrolled. */
function showCut(box) {
  const look = () => box.classList.toggle("cut", box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
  box.addEventListener("scroll", look, { passive: true });
  new ResizeObserver(look).observe(box);
}

function startTables() {
  for (const table of document.querySelectorAll("table")) {
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      header.querySelector("button").addEventListener("click", () => sortTable(table, column, header));
    });
    const rows = [...table.tBodies[0].rows].filter((row) => row.dataset.submission);
    for (const row of rows) {
      row.addEventListener("pointerenter", (event) => {
        if (event.pointerType !== "touch") hover({ submission: row.dataset.submission });
      });
      row.addEventListener("pointerleave", () => hover(null));
    }
    showCut(table.parentElement);
    follow("hovered", () => {
      for (const row of rows) row.classList.toggle("hovered", hovered?.submission === row.dataset.submission);
    });
  }
}
