// Charts are drawn when they are scrolled near the window, so that a page with many charts opens fast.
const views = [];

function drawChart(figure) {
  views.push(new View(figure, report.charts[Number(figure.dataset.chart)]));
}

/** For printing: draw all charts that are not collapsed, scalable and in light colours. */
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
