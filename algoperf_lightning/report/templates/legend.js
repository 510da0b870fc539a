// The legend of the page, and the switch between light and dark.
const legend = document.getElementById("legend");

function setAll(property, choose) {
  for (const each of submissions.values()) each[property] = choose(each);
  tell("shown");
}

function addRow(each) {
  const row = legend.querySelector(`li[data-place="${each.place}"]`);
  const box = row.querySelector("input");
  const button = row.querySelector("button");
  box.addEventListener("change", () => {
    each.shown = box.checked;
    tell("shown");
  });
  button.addEventListener("click", () => {
    each.coloured = !each.coloured;
    tell("shown");
  });
  row.addEventListener("pointerenter", (event) => event.pointerType !== "touch" && hover({ submission: each.name }));
  row.addEventListener("pointerleave", () => hover(null));
  follow("shown", () => {
    box.checked = each.shown;
    button.setAttribute("aria-pressed", each.coloured);
    row.classList.toggle("hidden", !each.shown);
    row.querySelector(".swatch").replaceChildren(swatch(each));
  });
  follow("hovered", () => row.classList.toggle("hovered", hovered?.submission === each.name));
}

/** A sample of the line with its colour and marker. */
function swatch(each) {
  const colour = each.coloured ? ownColour(each.name) : variable("--pale");
  const svg = draw("svg", { width: 26, height: 12, "aria-hidden": "true" }, document.createDocumentFragment());
  draw("path", { d: "M0 6H26", stroke: colour, "stroke-width": each.coloured ? 2.4 : 1.6 }, svg);
  const shapes = { o: "M9.5 6a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0", s: "M10 3h6v6h-6z", "^": "M13 2l4 7h-8z" };
  if (each.marker && each.coloured) draw("path", { d: shapes[each.marker], fill: colour }, svg);
  return svg;
}

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  tell("shown");
}

function startLegend() {
  if (matchMedia("(max-width: 62rem)").matches) {
    for (const part of document.querySelectorAll("aside details")) part.open = false;
  }
  [...submissions.values()].forEach((each, place) => addRow(Object.assign(each, { place })));
  const choices = {
    "show-all": () => setAll("shown", () => true),
    "show-none": () => setAll("shown", () => false),
    "colour-all": () => setAll("coloured", () => true),
    "colour-first": () => setAll("coloured", (each) => each.front),
  };
  for (const [name, action] of Object.entries(choices)) {
    document.getElementById(name)?.addEventListener("click", action);
  }
  document.getElementById("theme").addEventListener("click", () => setTheme(isDark() ? "light" : "dark"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => tell("shown"));
}
