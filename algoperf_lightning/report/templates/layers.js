// The layers of a chart: bands and reference lines below it; names at line ends and the hovered point above it.
const LABEL_HEIGHT = 13;
// With more bands than this, which would hide each other, only the hovered line has its band.
const MOST_BANDS = 4;

/** Map a value to a position on the screen, along one axis. */
function scaleOf(chart, axis, key, values) {
  const [low, high] = values[0] === values[1] ? [values[0], values[0] * 2 + 1] : values;
  const at = (value) => chart.convertToPixel({ [key]: 0 }, value);
  const map = axis.log ? Math.log : (x) => x;
  const [from, to] = [at(low), at(high)];
  const slope = (to - from) / (map(high) - map(low));
  return (value) => from + (map(value) - map(low)) * slope;
}

function spanOf(data, keys, axis) {
  const all = data.series.flatMap((each) => keys.flatMap((key) => each[key] ?? []));
  const values = all.filter((value) => value !== null && (!axis.log || value > 0));
  return [Math.min(...values), Math.max(...values)];
}

/** The vertices of a line, including the corners of step lines. Gaps are null. */
function corners(series, x, y, values = series.y) {
  const found = [];
  series.x.forEach((at, place) => {
    const value = values[place];
    if (at === null || value === null) {
      found.push(null);
      return;
    }
    const last = found[found.length - 1];
    if (series.line === "step" && last) found.push([x(at), last[1]]);
    found.push([x(at), y(value)]);
  });
  return found;
}

function pathOf(points) {
  let pen = "M";
  return points.map((point) => {
    const piece = point ? `${pen}${point[0].toFixed(1)} ${point[1].toFixed(1)}` : "";
    pen = point ? "L" : "M";
    return piece;
  }).join("");
}

Object.assign(View.prototype, {
  drawLayers() {
    const { data, chart } = this;
    if (!this.shown.length) {
      this.lines = [];
      this.under.replaceChildren();
      this.over.replaceChildren();
      return;
    }
    this.x = scaleOf(chart, data.x, "xAxisIndex", data.x.names.length ? [0, 1] : spanOf(data, ["x"], data.x));
    this.y = scaleOf(chart, data.y, "yAxisIndex", data.y.names.length ? [0, 1] : spanOf(data, ["y"], data.y));
    const rect = chart.getModel().getComponent("grid", 0).coordinateSystem.getRect();
    this.rect = rect;
    this.lines = this.shown.map(({ series, place }) => ({ series, place, points: corners(series, this.x, this.y) }));
    for (const layer of [this.under, this.over]) {
      layer.replaceChildren();
      const clip = draw("clipPath", { id: `${this.figure.id}-${layer === this.under ? "u" : "o"}` }, layer);
      const { x, y, width, height } = rect;
      draw("rect", { x, y: y - 4, width, height: height + 8 }, clip);
    }
    this.drawIntervals();
    this.drawRules();
    this.drawNames();
    this.marked = draw("g", {}, this.over);
    this.drawHovered();
  },

  clipped(layer) {
    return draw("g", { "clip-path": `url(#${this.figure.id}-${layer === this.under ? "u" : "o"})` }, layer);
  },

  drawIntervals() {
    const [group, above] = [this.clipped(this.under), this.clipped(this.over)];
    const bands = this.lines.filter(({ series }) => series.low && series.line !== "none" && isFront(series.submission));
    for (const { series } of this.lines) {
      const front = isFront(series.submission);
      const colour = front ? ownColour(series.submission) : variable("--pale");
      if (series.line === "none") this.drawWhiskers(series, colour, above);
      else if (series.low && front && bands.length <= MOST_BANDS) this.drawBand(series, colour, group);
    }
  },

  drawBand(series, colour, group, opacity = 0.14) {
    const low = corners(series, this.x, this.y, series.low).filter(Boolean);
    const high = corners(series, this.x, this.y, series.high).filter(Boolean);
    const outline = pathOf([...high, ...low.reverse()]);
    if (outline) draw("path", { d: `${outline}Z`, fill: colour, "fill-opacity": opacity }, group);
  },

  drawWhiskers(series, colour, group) {
    series.x.forEach((at, k) => {
      if (at === null || series.y[k] === null) return;
      const ends = [
        series.low && [at, series.low[k], at, series.high[k]],
        series.xLow && [series.xLow[k], series.y[k], series.xHigh[k], series.y[k]],
      ];
      for (const [x1, y1, x2, y2] of ends.filter((each) => each && !each.includes(null))) {
        const place = { x1: this.x(x1), y1: this.y(y1), x2: this.x(x2), y2: this.y(y2) };
        draw("line", { ...place, stroke: colour, "stroke-width": 2, "stroke-opacity": series.strong ? 0.6 : 0.3 }, group);
      }
    });
  },

  drawRules() {
    const { x: left, y: top, width, height } = this.rect;
    const group = this.clipped(this.under);
    for (const rule of this.data.rules) {
      const across = rule.y !== null;
      const at = across ? this.y(rule.y) : this.x(rule.x);
      const place = across ? { x1: left, x2: left + width, y1: at, y2: at } : { x1: at, x2: at, y1: top, y2: top + height };
      draw("line", { ...place, class: "rule", "stroke-dasharray": across ? "none" : "3 3" }, group);
      const words = across ? { x: left + 5, y: at - 4 } : { x: at - 5, y: top + height - 6, "text-anchor": "end" };
      draw("text", { ...words, class: "rule-name" }, group).textContent = rule.name;
    }
  },

  /** Write names at the ends of lines, in the order of the ends, moved apart so that none overlap. */
  drawNames() {
    const { x: left, y: top, width, height } = this.rect;
    const ends = new Map();
    for (const { series, points } of this.lines) {
      const inside = points.filter((point) => point && point[0] <= left + width + 1);
      if (series.strong && this.labelled.includes(series.submission) && inside.length) {
        ends.set(series.submission, inside[inside.length - 1][1]);
      }
    }
    let names = [...ends].filter(([, y]) => y > top - 8 && y < top + height + 8).sort((a, b) => a[1] - b[1]);
    if (names.length * LABEL_HEIGHT > height) names = names.filter(([name]) => isFront(name));
    const places = spread(names.map(([, y]) => y), top, top + height);
    names.forEach(([name, y], k) => {
      const front = isFront(name);
      const colour = front ? ownColour(name) : variable("--muted");
      const edge = left + width;
      draw("path", { d: `M${edge} ${y}L${edge + 8} ${places[k]}`, class: "leader" }, this.over);
      const text = draw("text", { x: edge + 11, y: places[k] + 4, fill: colour, class: "line-name" }, this.over);
      text.textContent = shortened(name, 178);
      text.addEventListener("pointerenter", () => hover({ submission: name }));
      text.addEventListener("pointerleave", () => hover(null));
    });
  },
});

/** Return positions close to the desired ones (sorted), at least one line apart, within the limits. */
function spread(wanted, low, high) {
  const blocks = [];
  for (const place of wanted) {
    blocks.push({ sum: place, number: 1 });
    for (let last = settle(blocks.at(-1)); blocks.length > 1; last = settle(blocks.at(-1))) {
      const before = settle(blocks.at(-2));
      if (before.end <= last.start) break;
      const { sum, number } = blocks.pop();
      blocks.at(-1).sum += sum;
      blocks.at(-1).number += number;
    }
  }
  return blocks.flatMap((block) => {
    const { start } = settle(block);
    return Array.from({ length: block.number }, (_, k) => start + (k + 0.5) * LABEL_HEIGHT);
  });

  function settle({ sum, number }) {
    const height = number * LABEL_HEIGHT;
    const start = Math.max(low - 6, Math.min(sum / number - height / 2, high + 6 - height));
    return { start, end: start + height };
  }
}

function shortened(text, width) {
  let short = text;
  while (short.length > 4 && textWidth(short) > width) short = `${short.slice(0, -2).replace(/…$/, "")}…`;
  return short;
}
