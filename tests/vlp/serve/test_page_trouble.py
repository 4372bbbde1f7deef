"""The page in a browser: hostile captions, export, failures, and how it looks."""

import contextlib
import csv
import io
import json

import httpx
import pytest
from PIL import Image, ImageStat

from tests.vlp.serve import page_fixtures as on
from tests.vlp.serve.serving import serving
from vlp.serve.bounds import Bounds

pytestmark = pytest.mark.browser
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
_UNLABELLED = """all => all.filter((one) => one.checkVisibility()
  && !one.getAttribute("aria-label") && !one.textContent.trim() && !one.labels?.length
).map((one) => one.outerHTML)"""
_SMALL = """all => all.filter((one) => one.checkVisibility()).map((one) => {
  const box = (one.type === "checkbox" ? one.closest("label") : one).getBoundingClientRect();
  return [box.width, box.height, one.outerHTML.slice(0, 80)];
}).filter(([width, height]) => width < 44 || height < 44)"""


def saved(page, button):
    with page.expect_download() as caught:
        page.click(button)
    with open(caught.value.path(), encoding="utf-8", newline="") as file:
        return caught.value.suggested_filename, file.read()


def test_metadata_are_text_and_nothing_else(page):
    on.search(page, "#2")
    assert on.HOSTILE in on.shown(page)
    page.locator(".tile", has_text="onerror").locator(".picture").click()
    assert page.inner_text("#lightbox-title") == on.HOSTILE
    assert page.inner_text('[data-column="caption"]') == on.HOSTILE
    page.keyboard.press("Escape")
    on.search(page, on.HOSTILE)
    with on.searching(page):
        page.keyboard.press("Shift+Enter")
    page.fill("#without", on.HOSTILE)
    with on.searching(page):
        page.keyboard.press("Enter")
    assert on.HOSTILE in page.inner_text("#chips")
    assert page.locator("img[src=x], body script").count() == 0
    assert page.title() != "1337"


def test_a_missing_file_is_told_of(page):
    on.search(page, "#7")
    tile = page.locator(".tile", has_text="scene number 7")
    tile.locator("text=cannot be shown").wait_for()
    tile.locator(".picture").click()
    page.wait_for_selector("text=its file is gone or unreadable")


def test_saved_results_are_what_the_server_answers(page, address):
    on.search(page, "a red circle")
    with on.searching(page):
        page.click("#more")
    name, text = saved(page, "#save-json")
    found = json.loads(text)
    body = {"texts": ["a red circle"], "k": on.COUNT}
    expected = httpx.post(f"{address}api/search", json=body).json()["hits"]
    assert name == "results.json"
    assert found["hits"] == expected
    assert found["query"]["texts"] == ["a red circle"]
    name, text = saved(page, "#save-csv")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert name == "results.csv"
    assert [int(row["id"]) for row in rows] == [hit["id"] for hit in expected]
    assert [float(row["cosine"]) for row in rows] == [hit["cosine"] for hit in expected]
    by_id = {row["id"]: row for row in rows}
    assert by_id["3"]["caption"] == f"'{on.FORMULA}'"[:-1]
    assert by_id["2"]["caption"] == on.HOSTILE
    assert by_id["5"]["split"] == "it's a test"
    assert by_id["6"]["split"] == ""


def test_the_server_is_gone_and_comes_back(browser, retriever):
    expected = [on.GONE, r"ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE"]
    with contextlib.ExitStack() as visit:
        with serving({"pictures": retriever}) as address:
            visiting = on.visiting(browser, address, expected_errors=expected)
            page = visit.enter_context(visiting)
            on.search(page, "a red circle")
        page.fill("#text", "another")
        page.keyboard.press("Enter")
        page.wait_for_selector("#problem p")
        assert "The server does not answer." in page.inner_text("#problem")
        assert page.inner_text("#status") == ""
        assert len(on.shown(page)) == 40
        page.route("**/api/search", answer_empty)
        page.click("text=Try again")
        page.wait_for_selector("text=Nothing found")
        assert page.inner_text("#problem") == ""


def answer_empty(route):
    body = {"hits": [], "searched": 0, "more": False, "notes": ["a note"], "seconds": 0.2}
    route.fulfill(json=body)


def test_too_many_searches(browser, retriever):
    with (
        serving({"pictures": retriever}, Bounds(per_minute=1)) as address,
        on.visiting(browser, address, expected_errors=[on.GONE, "429"]) as page,
    ):
        on.search(page, "a red circle")
        on.search(page, "another")
        assert "in a minute; wait" in page.inner_text("#problem")
        assert page.locator("text=Try again").is_visible()


def test_an_older_answer_does_not_replace_a_newer_one(page):
    held = []
    page.route("**/api/search", lambda route: held.append(route), times=1)
    page.fill("#text", "slow")
    page.keyboard.press("Enter")
    while not held:
        page.wait_for_timeout(10)
    seen = on.search(page, "fast")
    assert on.shown(page) == [hit["metadata"]["caption"] for hit in seen.answered["hits"]]
    assert page.inner_text("#problem") == ""


def test_everything_has_a_name(page):
    on.search(page, "a red circle")
    page.click(".picture >> nth=0")
    for selector in ("button, select, textarea, a", "input:not([type=file])"):
        assert page.locator(selector).evaluate_all(_UNLABELLED) == []
    assert page.locator("img:not([alt])").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_light_and_dark(browser, address, scheme):
    context = {**PHONE, "color_scheme": scheme, "expected_errors": [on.GONE]}
    with on.visiting(browser, address, "?q=a+red+circle&like=1&without=sea", **context) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.locator("#panel").is_hidden()
        page.click("#panel-toggle")
        assert page.locator("#panel").is_visible()
        touched = "button:not(.picture), select, textarea, input:not([type=range])"
        assert page.locator(touched).evaluate_all(_SMALL) == []
        page.click("#panel-toggle")
        tops = page.locator(".tile").evaluate_all("all => all.map((one) => one.offsetTop)")
        assert max(tops.count(top) for top in tops) <= 4
        assert brightness(page) < 110 if scheme == "dark" else brightness(page) > 140
        page.click(".picture >> nth=0")
        page.wait_for_selector("#lightbox[open]")
        box = page.locator("#lightbox").bounding_box()
        assert (box["width"], box["height"]) == (390, 844)


def brightness(page):
    """Mean grey, 0 to 255, of what is to be seen."""
    with Image.open(io.BytesIO(page.screenshot())) as image:
        return ImageStat.Stat(image.convert("L")).mean[0]
