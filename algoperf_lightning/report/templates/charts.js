// Charts. ECharts draws axes and lines, and zooms. Layers below and above it, with the same scales, show bands,
// reference lines, names, and the hovered point.
const SYMBOLS = { o: "circle", s: "rect", "^": "triangle", "": "circle" };
const LABEL_FONT = "11px system-ui, sans-serif";
const measure = document.createElement("canvas").getContext("2d");

function textWidth(text) {
  measure.font = LABEL_FONT;
  return measure.measureText(text).width;
}

/** Break a text into lines of limited width; a longer word gets its own line. */
function inLines(text, width) {
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = `${lines[lines.length - 1]} ${word}`.trim();
    if (textWidth(longer) * 1.15 > width && lines[lines.length - 1]) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines.join("\n");
}

/** Whether to label the end of an axis; odd values such as -0.02 are omitted. */
function isRound(value, low, high) {
  const step = 10 ** Math.floor(Math.log10((high - low) / 2));
  return Math.abs(value / step - Math.round(value / step)) < 1e-6;
}

/** Ends of a logarithmic axis: slightly beyond the data, instead of the next power of ten. */
function logEnds(axis, data, vertical) {
  const keys = vertical ? ["y", "low", "high"] : ["x", "xLow", "xHigh"];
  const [low, high] = spanOf(data, keys, axis);
  const room = Math.max(1.02, (high / low) ** 0.04);
  return [axis.low ?? low / room, axis.high ?? high * room];
}

/** Round values between the ends of a logarithmic axis, as many as fit. */
function logTicks(low, high, most) {
  const steps = [[1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9], [1, 1.5, 2, 3, 4, 5, 7], [1, 2, 5], [1, 3], [1]];
  const decades = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) decades.push(power);
  const found = steps.map((each) =>
    decades.flatMap((power) => each.map((digit) => +(digit * 10 ** power).toPrecision(3))).filter((x) => x >= low && x <= high),
  );
  if (found[0].length < 4) {
    const step = [1, 2, 5, 10].map((each) => each * 10 ** Math.floor(Math.log10((high - low) / 4))).find((each) => (high - low) / each <= most);
    const first = Math.ceil(low / step);
    return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, k) => +((first + k) * step).toPrecision(6));
  }
  return found.find((each) => each.length <= most) ?? found[found.length - 1].filter((_, k, all) => k % Math.ceil(all.length / most) === 0);
}

function axisOption(axis, data, vertical, narrow) {
  const colour = variable("--muted");
  const option = {
    type: axis.names.length ? "category" : axis.log ? "log" : "value",
    name: inLines(axis.label, vertical ? 270 : narrow ? 230 : 480),
    nameLocation: "middle",
    nameGap: vertical ? 12 : 28,
    nameTextStyle: { color: colour, fontSize: 12, lineHeight: 16 },
    axisLine: { show: true, lineStyle: { color: variable("--rule") } },
    axisTick: { show: false },
    axisLabel: { color: colour, fontSize: 11, hideOverlap: true, formatter: (v) => shortNumber(v, axis.percent) },
    splitLine: { show: true, lineStyle: { color: variable("--line"), width: 1 } },
    splitNumber: narrow ? 4 : 6,
    scale: true,
  };
  if (axis.names.length) {
    Object.assign(option, { data: axis.names, inverse: vertical });
    option.axisLabel = { color: colour, fontSize: 11, interval: 0, width: narrow ? 110 : 240, overflow: "truncate" };
    const letters = axis.names.length * Math.max(...axis.names.map((name) => name.length));
    if (!vertical && letters > (narrow ? 40 : 100)) option.axisLabel.rotate = 30;
    return option;
  }
  const [low, high] = axis.log ? logEnds(axis, data, vertical) : [axis.low, axis.high];
  if (low !== null) option.min = low;
  if (high !== null) option.max = high;
  if (axis.log) {
    option.axisLabel.customValues = logTicks(low, high, narrow ? 6 : 9);
    option.axisTick.customValues = option.axisLabel.customValues;
    Object.assign(option.axisLabel, { showMinLabel: true, showMaxLabel: true });
  }
  if (axis.low !== null && axis.high !== null && !axis.log) {
    option.axisLabel.showMinLabel = isRound(axis.low, axis.low, axis.high);
    option.axisLabel.showMaxLabel = isRound(axis.high, axis.low, axis.high);
  }
  return option;
}

function seriesOption(series, place) {
  const front = isFront(series.submission);
  const look = submissions.get(series.submission);
  const colour = front ? ownColour(series.submission) : variable("--pale");
  const strong = series.strong && front;
  const points = series.line === "none";
  const every = Math.max(1, Math.round(series.x.length / 8));
  const marked = new Set(series.marks);
  const shows = (at) => strong && look?.marker && at % every === place % every;
  return {
    id: String(place),
    type: points ? "scatter" : "line",
    data: series.x.map((x, at) => ({
      value: [x, series.y[at]],
      ...(marked.has(at) ? { symbol: "diamond", symbolSize: strong ? 11 : 0 } : {}),
    })),
    step: series.line === "step" ? "end" : false,
    symbol: SYMBOLS[look?.marker ?? ""],
    symbolSize: points ? (series.strong ? 9 : 6) : (_, { dataIndex }) => (shows(dataIndex) ? 6 : 0),
    showAllSymbol: true,
    lineStyle: { color: colour, width: strong ? 2 : 1, opacity: series.strong ? 1 : front ? 0.45 : 0.6 },
    itemStyle: { color: colour, opacity: series.strong || !points ? 1 : 0.5 },
    z: (front ? 40 : 3) + (strong ? 20 : 0) - place / 100 - (series.strong ? 0 : 10),
    silent: true,
    animation: false,
  };
}

class View {
  constructor(figure, data) {
    this.figure = figure;
    this.data = data;
    this.box = figure.querySelector(".chart");
    this.under = draw("svg", { class: "layer", "aria-hidden": "true" }, this.box);
    const canvas = make("div", { class: "canvas" });
    this.box.append(canvas);
    this.over = draw("svg", { class: "layer over", "aria-hidden": "true" }, this.box);
    this.chart = echarts.init(canvas, null, { renderer: "svg" });
    this.reset = figure.querySelector(".reset");
    this.zoom = figure.querySelector(".zoom");
    this.zoom.addEventListener("click", () => this.brush(!this.brushing));
    // On touch screens, dragging scrolls the page unless the zoom button is on.
    this.brushing = !matchMedia("(pointer: coarse)").matches;
    this.chart.on("rendered", () => this.drawLayers());
    this.chart.on("datazoom", () => {
      this.moveTicks();
      this.reset.hidden = this.chart.getOption().dataZoom.every(({ start, end }) => start === 0 && end === 100);
    });
    const back = () => {
      this.chart.dispatchAction({ type: "dataZoom", batch: [0, 1].map((k) => ({ dataZoomIndex: k, start: 0, end: 100 })) });
    };
    this.reset.addEventListener("click", back);
    this.box.addEventListener("dblclick", back);
    this.watchPointer();
    this.update();
    new ResizeObserver(() => this.resize()).observe(this.box);
  }

  get shown() {
    return this.data.series.map((series, place) => ({ series, place })).filter(({ series }) => isShown(series.submission));
  }

  resize() {
    const size = [this.box.clientWidth, this.box.clientHeight];
    if (this.size && size.every((value, k) => value === this.size[k])) return;
    this.chart.resize();
    this.update();
  }

  update() {
    this.size = [this.box.clientWidth, this.box.clientHeight];
    const narrow = this.size[0] < 520;
    this.labelled = narrow ? [] : endingAtTheEdge(this.data);
    const room = this.labelled.length ? Math.min(190, 16 + Math.max(...this.labelled.map(textWidth))) : 14;
    this.chart.setOption(
      {
        animation: false,
        grid: { left: 4, right: room, top: 10, bottom: 4, outerBoundsMode: "same", outerBoundsContain: "all",
          outerBounds: { left: 4, right: room, top: 10, bottom: 4 } },
        xAxis: axisOption(this.data.x, this.data, false, narrow),
        yAxis: axisOption(this.data.y, this.data, true, narrow),
        series: this.shown.map(({ series, place }) => seriesOption(series, place)),
        dataZoom: [
          { type: "inside", xAxisIndex: 0, filterMode: "none", disabled: true },
          { type: "inside", yAxisIndex: 0, filterMode: "none", disabled: true },
        ],
        toolbox: { show: true, itemSize: 0, feature: { dataZoom: { filterMode: "none", icon: { zoom: "path://", back: "path://" } } } },
      },
      { replaceMerge: ["series"] },
    );
    this.brush(this.brushing);
  }

  /** Finish drawing, and make the result scalable. */
  freeze() {
    this.chart.getZr().flush();
    for (const svg of this.box.querySelectorAll("svg")) svg.setAttribute("viewBox", `0 0 ${this.size.join(" ")}`);
  }

  /** Set the ticks of logarithmic axes for their visible part. */
  moveTicks() {
    const option = {};
    for (const key of ["x", "y"].filter((each) => this.data[each].log)) {
      const scale = this.chart.getModel().getComponent(`${key}Axis`, 0).axis.scale;
      const ticks = { customValues: logTicks(...scale.getExtent(), this.size[0] < 520 ? 6 : 9) };
      option[`${key}Axis`] = { axisLabel: ticks, axisTick: ticks };
    }
    this.chart.setOption(option);
  }

  /** Whether dragging zooms into the selected area. */
  brush(on) {
    this.brushing = on;
    this.zoom.setAttribute("aria-pressed", on);
    this.chart.dispatchAction({ type: "takeGlobalCursor", key: "dataZoomSelect", dataZoomSelectActive: on });
  }
}

/** Submissions whose highlighted lines all reach the right edge of the data, where their names fit. */
function endingAtTheEdge(data) {
  const lines = data.series.filter((each) => each.line !== "none" && each.strong && each.submission && each.x.length);
  const ends = lines.map((each) => each.x[each.x.length - 1]);
  const edge = data.x.high ?? Math.max(...ends);
  const starts = Math.min(...lines.map((each) => each.x[0]));
  if (!lines.length || ends.some((end) => end < edge - 0.02 * (edge - starts))) return [];
  return [...new Set(lines.map((each) => each.submission))];
}
