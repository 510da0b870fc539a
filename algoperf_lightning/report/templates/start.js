// Charts are drawn when they come near the window: a page of many opens at once.
const views = [];

function startCharts() {
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        watcher.unobserve(target);
        views.push(new View(target, report.charts[Number(target.dataset.chart)]));
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
tell("shown");
document.documentElement.dataset.ready = "yes";
