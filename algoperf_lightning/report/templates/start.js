// Charts are drawn when they come near the window: a page of many opens at once.
const views = [];

function drawChart(figure) {
  views.push(new View(figure, report.charts[Number(figure.dataset.chart)]));
}

/** For the paper: all charts that are not collapsed, in light colours, and able to be scaled. */
function startPrinting() {
  let theme;
  addEventListener("beforeprint", () => {
    theme = document.documentElement.dataset.theme;
    for (const figure of document.querySelectorAll("figure[data-chart]")) {
      if (figure.checkVisibility() && !figure.querySelector(".canvas")) drawChart(figure);
    }
    setTheme("light");
    for (const view of views) view.freeze();
  });
  addEventListener("afterprint", () => {
    setTheme(theme);
    for (const svg of document.querySelectorAll(".chart svg")) svg.removeAttribute("viewBox");
  });
}

function startCharts() {
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        watcher.unobserve(target);
        if (!target.querySelector(".canvas")) drawChart(target);
      }
    },
    { rootMargin: "300px" },
  );
  for (const figure of document.querySelectorAll("figure[data-chart]")) watcher.observe(figure);
  follow("shown", () => views.forEach((view) => view.update()));
  follow("hovered", () => {
    views.forEach((view) => view.drawHovered());
    showTip();
  });
  addEventListener("scroll", () => hover(null), { passive: true });
}

startLegend();
startTables();
startCharts();
startPrinting();
tell("shown");
document.documentElement.dataset.ready = "yes";
