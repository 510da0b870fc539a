"""A headless Chromium for the tests of the page, where there is one; `.ci/run` installs it and demands it."""

import os
import shutil
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)


def find_browser():
    """The paths of Chromium and its driver; without them the tests are left out, in CI they fail."""
    found = (shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver"))
    if all(found) and find_spec("selenium"):
        return found
    message = "no Chromium, its driver or selenium: `apt-get install chromium chromium-driver`, `pip install selenium`"
    if os.environ.get("ALGOPERF_NEEDS_BROWSER"):
        pytest.fail(message)
    pytest.skip(message)


@contextmanager
def open_browser(profile):
    """A browser with a profile folder of its own."""
    chromium, driver = find_browser()
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


def resize(browser, width, dark=False):
    """Give the window a width, and the page the colours that the reader prefers."""
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def show(browser, path, width=1280, dark=False):
    """Open a file in a window of a width, scroll until everything but collapsed charts is drawn, and go to its top."""
    resize(browser, width, dark)
    browser.get(path.as_uri())
    draw_everything(browser)


def draw_everything(browser):
    browser.execute_async_script("""
      const done = arguments[0];
      const figures = [...document.querySelectorAll("figure[data-chart]")];
      const next = () => {
        const figure = figures.find((each) => each.checkVisibility() && !each.querySelector(".canvas"));
        if (figure) figure.scrollIntoView();
        else scrollTo(0, 0);
        setTimeout(figure ? next : done, figure ? 20 : 100);
      };
      next();
    """)


OVERFLOWING = """
  const wide = document.documentElement.clientWidth;
  const own = (each) => [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  return [...document.querySelectorAll("body *")].filter((each) => {
    if (!own(each) || each.closest(".wide, script, style, #tip")) return false;
    const box = each.getBoundingClientRect();
    return box.width && (box.right > wide + 1 || box.left < -1);
  }).map((each) => each.outerHTML.slice(0, 120));
"""
"""Texts that stick out of the window, other than in tables that scroll."""

OVERLAPPING = """
  const found = [];
  const texts = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  while (walk.nextNode()) {
    const node = walk.currentNode;
    if (!node.textContent.trim() || node.parentElement.closest("script, style, #tip")) continue;
    if (!node.parentElement.checkVisibility({ visibilityProperty: true })) continue;
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) {
      if (box.width > 1) texts.push({ node, box, group: node.parentElement.closest("td, th, figure, li, p") });
    }
  }
  texts.sort((a, b) => a.box.top - b.box.top);
  // Columns of a table are scrolled under the first one on purpose.
  const scrolled = (a, b) => a.node.parentElement.closest(".wide") && b.node.parentElement.closest(".wide");
  texts.forEach((a, k) => {
    for (let j = k + 1; j < texts.length && texts[j].box.top < a.box.bottom - 3; j += 1) {
      const b = texts[j];
      const across = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
      const down = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
      if (across > 1.5 && down > 3 && !scrolled(a, b)) found.push(`${a.node.textContent} | ${b.node.textContent}`);
    }
  });
  return found;
"""
"""Pairs of texts that cover each other."""
