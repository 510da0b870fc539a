// Hovering highlights the line nearest to the pointer in every chart, and shows its values.
const REACH = 28;
const tip = document.getElementById("tip");

/** The point of a line segment that is nearest to another point. */
function footOn([ax, ay], [bx, by], [px, py]) {
  const length = (bx - ax) ** 2 + (by - ay) ** 2;
  const along = length ? Math.max(0, Math.min(1, ((px - ax) * (bx - ax) + (py - ay) * (by - ay)) / length)) : 0;
  return [ax + along * (bx - ax), ay + along * (by - ay)];
}

function distance([ax, ay], [bx, by]) {
  return Math.hypot(ax - bx, ay - by);
}

/** The series nearest to a position on the screen, and its point to describe; null if none is close enough. */
function nearest(view, at) {
  let best = { distance: REACH };
  for (const { series, place, points } of view.lines) {
    const joined = series.line !== "none";
    points.forEach((point, k) => {
      const from = joined && k && points[k - 1] ? points[k - 1] : point;
      // Coloured lines are selected from a larger distance than grey ones.
      if (!point) return;
      const foot = footOn(from, point, at);
      const far = distance(foot, at) + (isFront(series.submission) && series.strong ? 0 : 4);
      if (far < best.distance) best = { distance: far, series, place, foot };
    });
  }
  if (!best.series) return null;
  const { series } = best;
  let index = 0;
  let least = Infinity;
  series.x.forEach((x, k) => {
    if (x === null || series.y[k] === null) return;
    const [px, py] = [view.x(x), view.y(series.y[k])];
    // A step extends to the right of its point; on other lines, the point nearest in x is described.
    const far = series.line === "none" ? Math.hypot(px - at[0], py - at[1]) : Math.abs(px - at[0]);
    if (series.line === "step" && px > at[0] + 0.5 && least < Infinity) return;
    if (far <= least) [least, index] = [far, k];
  });
  return { submission: series.submission, view, series: best.place, index, others: coinciding(view, series, best.foot) };
}

/** Submissions whose lines coincide with the described one at a position. */
function coinciding(view, told, at) {
  const found = view.lines.filter(({ series, points }) => {
    if (series === told || !series.strong || series.line === "none" || series.submission === told.submission) return false;
    return points.some((point, k) => k && point && points[k - 1] && distance(footOn(points[k - 1], point, at), at) < 1);
  });
  return found.map(({ series }) => series.submission ?? series.name);
}

Object.assign(View.prototype, {
  watchPointer() {
    const find = (event) => {
      if (event.buttons && event.pointerType === "mouse") return;
      const box = this.box.getBoundingClientRect();
      const at = [event.clientX - box.left, event.clientY - box.top];
      const { x, y, width, height } = this.rect ?? { x: 0, y: 0, width: 0, height: 0 };
      const inside = at[0] > x - 8 && at[0] < x + width + 8 && at[1] > y - 8 && at[1] < y + height + 8;
      if (inside) hover(nearest(this, at));
      else if (!event.target.closest?.(".line-name")) hover(null);
    };
    this.box.addEventListener("pointermove", find);
    this.box.addEventListener("pointerdown", find);
    this.box.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && hover(null));
  },

  drawHovered() {
    if (!this.marked) return;
    this.marked.replaceChildren();
    const { x, y, width, height } = this.rect;
    const own = this.lines.filter(({ series, place }) =>
      hovered?.submission ? series.submission === hovered.submission : hovered?.view === this && place === hovered.series,
    );
    if (!hovered || !own.length) return;
    draw("rect", { x: x + 1, y: y - 4, width: width - 1, height: height + 8, class: "veil" }, this.marked);
    const group = draw("g", { "clip-path": `url(#${this.figure.id}-o)` }, this.marked);
    for (const { series, points } of own) {
      const colour = ownColour(series.submission);
      if (series.line === "none") {
        this.drawWhiskers(series, colour, group);
        for (const point of points.filter(Boolean)) draw("circle", { cx: point[0], cy: point[1], r: 5, fill: colour }, group);
        continue;
      }
      if (series.low) this.drawBand(series, colour, group, 0.22);
      draw("path", { d: pathOf(points), fill: "none", stroke: colour, "stroke-width": series.strong ? 3 : 1.2 }, group);
    }
    if (hovered.view === this) {
      const series = this.data.series[hovered.series];
      const place = { cx: this.x(series.x[hovered.index]), cy: this.y(series.y[hovered.index]) };
      draw("circle", { ...place, r: 4.5, fill: ownColour(series.submission), class: "spot" }, group);
    }
  },
});

function describe(series, data, index) {
  const value = (axis, at) => (axis.names.length ? axis.names[Math.round(at)] : shortNumber(at, axis.percent, 5));
  const range = (axis, low, high) => (low && low[index] !== null ? ` (${value(axis, low[index])} to ${value(axis, high[index])})` : "");
  const lines = [
    [data.x, value(data.x, series.x[index]) + range(data.x, series.xLow, series.xHigh)],
    [data.y, value(data.y, series.y[index]) + range(data.y, series.low, series.high)],
  ];
  const title = make("strong", {}, series.submission ?? series.name);
  const swatchColour = make("i", { class: "dot" });
  swatchColour.style.background = ownColour(series.submission);
  const parts = [make("div", {}, swatchColour, title)];
  if (series.submission && series.name) parts.push(make("div", { class: "more" }, series.name));
  for (const [axis, text] of lines) {
    parts.push(make("div", {}, make("span", { class: "more" }, axis.label ? `${axis.label}: ` : ""), text));
  }
  if (hovered.others.length) parts.push(make("div", { class: "more" }, `also here: ${hovered.others.join(", ")}`));
  if (series.notes[index]) parts.push(make("div", { class: "more" }, series.notes[index]));
  return parts;
}

function showTip() {
  const view = hovered?.view;
  tip.hidden = !view;
  if (!view) return;
  const series = view.data.series[hovered.series];
  tip.replaceChildren(...describe(series, view.data, hovered.index));
  const box = view.box.getBoundingClientRect();
  const [x, y] = [box.left + view.x(series.x[hovered.index]), box.top + view.y(series.y[hovered.index])];
  const { offsetWidth: width, offsetHeight: height } = tip;
  const left = x + 14 + width > document.documentElement.clientWidth - 4 ? x - 14 - width : x + 14;
  tip.style.left = `${Math.max(4, Math.min(left, document.documentElement.clientWidth - width - 4))}px`;
  tip.style.top = `${Math.max(4, Math.min(y - height - 10, innerHeight - height - 4))}px`;
}
