// The state of the page. The legend and the theme change it; charts and tables are redrawn.
const report = JSON.parse(document.getElementById("report-data").textContent);
const submissions = new Map(
  report.submissions.map((each) => [each.name, { ...each, shown: true, coloured: each.front }]),
);
const followers = { shown: [], hovered: [] };
let hovered = null; // {submission, view, series, index} under the pointer

function follow(what, action) {
  followers[what].push(action);
}

function tell(what) {
  followers[what].forEach((action) => action());
}

function hover(hit) {
  const same = hovered && hit && ["submission", "view", "series", "index"].every((key) => hovered[key] === hit[key]);
  if (same || (!hovered && !hit)) return;
  hovered = hit;
  tell("hovered");
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function variable(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** The colour of a submission, whether or not it is highlighted. */
function ownColour(name) {
  const found = submissions.get(name);
  return found ? (isDark() ? found.dark : found.light) : variable("--muted");
}

function isFront(name) {
  return !submissions.has(name) || submissions.get(name).coloured;
}

function isShown(name) {
  return !submissions.has(name) || submissions.get(name).shown;
}

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function draw(tag, attributes, parent) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  parent.append(element);
  return element;
}

/** Format a number; `percent` for shares. */
function shortNumber(value, percent = false, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (percent) return `${+(100 * value).toFixed(1)} %`;
  if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(1).replace("e-", "e−");
  return (+value.toPrecision(digits)).toLocaleString("en", { maximumFractionDigits: 6 });
}
