"""Tests of a run's page in a real browser: it opens, sorts, searches and draws, on paper, in the dark, on a phone."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_up_run import HOSTILE, make_run

from mumu_jax.reports.page import make_page

pytest.importorskip("selenium")

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
N_SHOWN = 6  # curves at first


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> Iterator[Any]:
    if not (CHROMIUM and CHROMEDRIVER):
        pytest.skip("no chromium or no chromedriver on the path")
    folder = tmp_path_factory.mktemp("browser")
    options = webdriver.ChromeOptions()
    for argument in (*ARGUMENTS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(argument)
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
    yield driver, write_page(folder)
    driver.quit()


def write_page(folder: Path) -> str:
    page = make_page(make_run(folder / "run"), None)
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def browser(opened) -> Iterator[Any]:
    """Open the page; afterwards the console must be empty, and nothing may have been asked of a network."""
    driver, address = opened
    emulate(driver)
    driver.get(address)
    yield driver
    assert driver.get_log("browser") == []
    events = (json.loads(line["message"])["message"] for line in driver.get_log("performance"))
    asked = (event["params"] for event in events if event["method"] == "Network.requestWillBeSent")
    urls = {one["request"]["url"] for one in asked if not one["documentURL"].startswith("chrome")}  # its own first tab
    assert {url for url in urls if not url.startswith("data:")} == {address}


def emulate(driver: Any, width: int = 1200, media: str = "screen", scheme: str = "light", scripts: bool = True) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})


def find(driver: Any, selector: str) -> list[WebElement]:
    return driver.find_elements(By.CSS_SELECTOR, selector)


def one(driver: Any, selector: str) -> WebElement:
    return driver.find_element(By.CSS_SELECTOR, selector)


def column(driver: Any, table: str, place: int) -> list[str]:
    """Return the cells of a column that are shown, from top to bottom."""
    script = """return Array.from(document.getElementById(arguments[0]).tBodies[0].rows).filter((row) => !row.hidden)
                .map((row) => row.cells[arguments[1]].textContent.trim().split("\\n")[0])"""
    return driver.execute_script(script, table, place)


def sort_by(driver: Any, table: str, place: int) -> str | None:
    header = find(driver, f"#{table} thead th")[place]
    header.find_element(By.TAG_NAME, "button").click()
    return header.get_attribute("aria-sort")


def shown(driver: Any) -> set[str]:
    return {curve.get_attribute("id") for curve in find(driver, "#rocs [id^=roc-]") if curve.is_displayed()}


def test_shows_its_charts(browser):
    widths = browser.execute_script("return Array.from(document.images, (image) => image.naturalWidth)")
    assert len(widths) == 5  # two of training, coverage, calibration, speed
    assert min(widths) > 300


def test_sorts_numbers(browser):
    support = [int(cell) for cell in column(browser, "by-label", 1)]
    assert support == sorted(support, reverse=True)  # as it comes
    assert sort_by(browser, "by-label", 2) == "descending"
    found = column(browser, "by-label", 2)
    assert found[-1] == "–"  # on no album: last, whatever the direction
    assert found[:-1] == sorted(found[:-1], key=float, reverse=True)
    assert sort_by(browser, "by-label", 2) == "ascending"
    assert column(browser, "by-label", 2) == [*sorted(found[:-1], key=float), "–"]
    assert len(find(browser, "#by-label [aria-sort]")) == 1
    assert sort_by(browser, "pairs", 3) == "descending"
    shares = [float(cell.removesuffix(" %")) for cell in column(browser, "pairs", 3)]
    assert shares == sorted(shares, reverse=True)


def test_sorts_names(browser):
    as_it_comes = column(browser, "by-label", 0)
    assert sort_by(browser, "by-label", 0) == "ascending"
    found = column(browser, "by-label", 0)
    assert sorted(found) == sorted(as_it_comes)
    in_order = "return arguments[0].toSorted((a, b) => a.localeCompare(b, undefined, {numeric: true}))"
    assert found == browser.execute_script(in_order, as_it_comes)
    assert sort_by(browser, "by-label", 0) == "descending"
    assert column(browser, "by-label", 0) == found[::-1]


def test_sorts_by_keyboard(browser):
    button = find(browser, "#by-label thead button")[0]
    button.send_keys(Keys.ENTER)
    assert find(browser, "#by-label thead th")[0].get_attribute("aria-sort") == "ascending"


def test_searches(browser):
    search = one(browser, "input[data-table=by-label]")
    search.send_keys("SCRIPT")
    assert column(browser, "by-label", 0) == [name for name in column(browser, "by-label", 0) if "script" in name]
    assert one(browser, "#labels output").text == f"2 of {len(HOSTILE)}"
    search.send_keys("no such label")
    assert column(browser, "by-label", 0) == []
    assert one(browser, "#labels output").text == f"0 of {len(HOSTILE)}"
    search.send_keys(Keys.CONTROL + "a", Keys.DELETE)
    assert len(column(browser, "by-label", 0)) == len(HOSTILE)
    assert one(browser, "#labels output").text == ""


def test_draws_the_chosen_curves(browser):
    at_first = shown(browser)
    assert len(at_first) == N_SHOWN
    box = one(browser, "#by-label input:not(:checked):not(:disabled)")
    curve, key = (f"{part}-{box.get_attribute('data-column')}" for part in ("roc", "key"))
    box.click()
    assert shown(browser) == at_first | {curve}
    assert one(browser, f"#{key}").is_displayed()
    box.click()
    assert shown(browser) == at_first
    assert not one(browser, f"#{key}").is_displayed()
    one(browser, "button.clear").click()
    assert shown(browser) == set()
    assert len(find(browser, "#by-label input:disabled")) == 1  # the label of no album has no curve


def test_dark_mode(browser):
    """The page turns, and the ROC curves' axes with it; the ground of the other charts stays light, for their ink."""
    colour = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    places = (
        ("body", "backgroundColor"),
        ("#training img", "backgroundColor"),
        ("body", "color"),
        ("#rocs text", "fill"),
        ("#rocs .grid", "stroke"),
    )

    def brightness() -> list[int]:
        colours = (browser.execute_script(colour, *place) for place in places)
        return [sum(map(int, one[4:-1].split(","))) for one in colours]

    ground, charts, ink, *drawn = brightness()
    assert charts >= ground > 700 > 200 > ink
    assert drawn == [ink, ink]
    emulate(browser, scheme="dark")
    ground, charts, ink, *drawn = brightness()
    assert ground < 200 < 600 < ink
    assert charts > 700
    assert drawn == [ink, ink]


@pytest.mark.parametrize("width", [390, 320, 800])
def test_no_page_is_wider_than_its_screen(browser, width):
    emulate(browser, width=width)
    browser.refresh()
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script("return document.querySelector('#training img').getBoundingClientRect().width") > 250


def test_on_paper(browser):
    emulate(browser, media="print", width=720)
    assert not one(browser, "nav").is_displayed()
    assert not one(browser, "input[type=search]").is_displayed()
    assert len(shown(browser)) == N_SHOWN
    box = one(browser, "#labels .scroll")
    assert browser.execute_script("return arguments[0].scrollHeight <= arguments[0].clientHeight", box)


def test_without_scripts(browser):
    emulate(browser, scripts=False)
    browser.refresh()
    assert len(shown(browser)) == N_SHOWN
    assert len(find(browser, "#by-label tbody tr")) == len(HOSTILE)
    assert not one(browser, "input[type=search]").is_displayed()
    assert find(browser, "thead button") == []
