"""The page in a browser: searching, walking through results, and the address."""

import re

import pytest

from tests.vlp.serve import page_fixtures as on
from vlp.retrieval.query import Query

pytestmark = pytest.mark.browser


def captions(retriever, **query):
    return [hit.metadata["caption"] for hit in retriever.search(Query(**query)).hits]


def focused(page):
    return page.evaluate(
        "[...document.querySelectorAll('.picture')].indexOf(document.activeElement)"
    )


def test_a_search_shows_what_the_retriever_finds(page, retriever):
    assert page.locator("#text").evaluate("box => box === document.activeElement")
    assert "Search in 60 pictures" in page.inner_text("#empty")
    on.search(page, "a red circle")
    assert on.shown(page) == captions(retriever, texts=["a red circle"], k=40)
    hit = retriever.search("a red circle", k=1).hits[0]
    assert page.inner_text(".scores >> nth=0").split() == [
        *f"{int(hit.percentile * 10 + 1e-4) / 10:g} %".split(),
        f"{hit.cosine:.3f}",
    ]
    assert page.title().startswith("a red circle")
    assert "40 shown · 60 searched" in page.inner_text("#status")


def test_show_more_appends_the_next_page(page, retriever):
    on.search(page, "a red circle")
    with on.searching(page) as seen:
        page.click("#more")
    assert (seen.asked["k"], seen.asked["offset"]) == (40, 40)
    assert on.shown(page) == captions(retriever, texts=["a red circle"], k=100)
    assert page.locator("#more").is_hidden()
    assert focused(page) == 40


def test_the_address_restores_the_search(page, browser, address):
    on.search(page, "a & b = c #7")
    page.fill("#without", "blue + green")
    with on.searching(page):
        page.keyboard.press("Enter")
    page.check("#group")
    on.settled(page)
    page.fill("#k", "12")
    with on.searching(page):
        page.keyboard.press("Tab")
    before = on.shown(page)
    assert len(before) == 12
    with on.visiting(browser, address, page.url.removeprefix(address), [on.GONE]) as again:
        assert on.shown(again) == before
        assert again.input_value("#text") == "a & b = c #7"
        assert "without blue + green" in again.inner_text("#chips")
        assert again.is_checked("#group")


def test_back_and_forward(page):
    on.search(page, "first")
    first = on.shown(page)
    on.search(page, "second")
    second = on.shown(page)
    assert first != second
    for move, text, expected in (
        (page.go_back, "first", first),
        (page.go_forward, "second", second),
    ):
        with on.searching(page):
            move()
        assert page.input_value("#text") == text
        assert on.shown(page) == expected
    page.go_back()
    page.go_back()
    page.wait_for_selector("#empty h2")
    assert page.input_value("#text") == ""
    assert on.shown(page) == []


def test_the_large_picture(page, retriever):
    hits = retriever.search("a red circle", k=40).hits
    on.search(page, "a red circle")
    page.click(".picture >> nth=1")
    page.wait_for_selector("#lightbox[open]")
    assert page.inner_text("#lightbox-place") == "2 of 40 shown"
    for name, value in {"id": hits[1].id, **hits[1].metadata}.items():
        cell = page.locator(f'#lightbox-metadata [data-column="{name}"]')
        expected = {True: "true", False: "false"}.get(value, value) if name == "even" else value
        assert cell.inner_text() == str(expected)
    page.click("#lightbox-next")
    assert page.inner_text("#lightbox-place") == "3 of 40 shown"
    assert page.url.endswith(f"open={hits[2].id}")
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#lightbox-place") == "2 of 40 shown"
    page.keyboard.press("Escape")
    page.wait_for_selector("#lightbox", state="hidden")
    assert "open=" not in page.url
    assert focused(page) == 1
    page.click(".picture >> nth=0")
    page.go_back()  # as a phone's back button
    page.wait_for_selector("#lightbox", state="hidden")
    assert page.input_value("#text") == "a red circle"


def test_a_link_to_a_large_picture(page, browser, address):
    on.search(page, "a red circle")
    page.click(".picture >> nth=3")
    title = page.inner_text("#lightbox-title")
    path = page.url.removeprefix(address)
    with on.visiting(browser, address, path, [on.GONE]) as again:
        again.wait_for_selector("#lightbox[open]")
        assert again.inner_text("#lightbox-title") == title
        again.keyboard.press("Escape")
        again.wait_for_selector("#lightbox", state="hidden")


def test_more_like_this_from_everywhere(page, retriever):
    on.search(page, "a red circle")
    first = retriever.search("a red circle", k=1).hits[0].id
    expected = captions(retriever, like=[first], k=40)
    page.hover(".tile >> nth=0")
    with on.searching(page):
        page.click(".tile .like >> nth=0")
    assert on.shown(page) == expected
    assert f"like #{first}" in page.inner_text("#chips")
    assert page.input_value("#text") == ""
    with on.searching(page):
        page.go_back()
    page.click(".picture >> nth=0")
    with on.searching(page):
        page.keyboard.press("m")
    assert on.shown(page) == expected
    assert page.locator("#lightbox").is_hidden()
    with on.searching(page):
        page.go_back()
    with on.searching(page):
        page.click("#lightbox-like")  # going back has opened the picture again
    assert on.shown(page) == expected


def test_an_id_in_the_search_box(page, retriever):
    on.search(page, "#12")
    assert on.shown(page) == captions(retriever, like=[12], k=40)


def test_keys(page):
    on.search(page, "a red circle")
    page.keyboard.press("ArrowDown")
    assert focused(page) == 0
    page.keyboard.press("ArrowRight")
    page.keyboard.press("j")
    assert focused(page) == 2
    tops = page.locator(".tile").evaluate_all("all => all.map(one => one.offsetTop)")
    page.keyboard.press("ArrowDown")
    assert tops[focused(page)] == sorted(set(tops))[1]
    page.keyboard.press("ArrowUp")
    page.keyboard.press("k")
    assert tops[focused(page)] == tops[0]
    page.keyboard.press("Enter")
    page.wait_for_selector("#lightbox[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("#lightbox", state="hidden")
    with on.searching(page):
        page.keyboard.press("n")
    assert len(on.shown(page)) == on.COUNT
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#help").is_hidden()
    page.keyboard.press("/")
    page.keyboard.type("typed / m ? n")
    assert page.input_value("#text") == "typed / m ? n"


def test_add_to_the_query_and_weights(page, retriever):
    on.search(page, "a red circle")
    page.keyboard.press("ArrowDown")
    hit = retriever.search("a red circle", k=1).hits[0].id
    with on.searching(page):
        page.keyboard.press("a")
    assert on.shown(page) == captions(retriever, texts=["a red circle"], like=[hit], k=40)
    page.get_by_label(f"Weight of like #{hit}").fill("2.5")
    with on.searching(page) as seen:
        page.keyboard.press("Enter")
    assert seen.asked["weights"] == [1, 2.5]
    assert "weights=1%2C2.5" in page.url
    with on.searching(page):
        page.get_by_label("Remove a red circle").click()
    assert page.input_value("#text") == ""
    assert on.shown(page) == captions(retriever, like=[hit], k=40)


def test_two_texts_and_one_that_is_not_to_be_seen(page, retriever):
    page.fill("#text", "a red circle")
    with on.searching(page):
        page.keyboard.press("Shift+Enter")
    assert page.input_value("#text") == ""
    page.keyboard.type("in the snow")
    page.fill("#without", "green")
    with on.searching(page) as seen:
        page.keyboard.press("Enter")
    assert (seen.asked["texts"], seen.asked["without"]) == (
        ["a red circle", "in the snow"],
        ["green"],
    )
    expected = captions(retriever, texts=["a red circle", "in the snow"], without=["green"], k=40)
    assert on.shown(page) == expected
    with on.searching(page) as seen:
        page.get_by_label("Remove without green").click()
    assert seen.asked["without"] == []
    page.click("text=Clear all")
    page.wait_for_selector("#empty h2")
    assert re.search(r"/$", page.url)


def test_without_alone_is_explained(page):
    page.fill("#without", "green")
    page.keyboard.press("Enter")
    assert "“without” alone is no search" in page.inner_text("#empty")
