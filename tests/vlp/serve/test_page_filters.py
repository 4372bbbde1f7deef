"""The page in a browser: filters, thresholds, options, and several indices."""

import pytest

from tests.vlp.serve import page_fixtures as on
from tests.vlp.serve.serving import make_index, serving
from vlp.retrieval.query import Query

pytestmark = pytest.mark.browser
EXPECTED = [r"404.*api/picture/pictures/7", r"422.*api/search"]


@pytest.fixture(scope="module")
def address(retriever, checkpoint, tmp_path_factory):
    other = make_index(tmp_path_factory.mktemp("other"), checkpoint)
    with serving({"pictures": retriever, "colours": other}) as found:
        yield found


@pytest.fixture
def expected_errors():
    return EXPECTED


@pytest.fixture
def page(page):
    on.search(page, "a red circle")
    return page


def captions(retriever, **query):
    query = {"texts": ["a red circle"], "k": 40, **query}
    return [hit.metadata["caption"] for hit in retriever.search(Query(**query)).hits]


def check(page, column, value):
    with on.searching(page) as seen:
        page.get_by_role("group", name=column).get_by_label(value, exact=True).check()
    return seen


def test_a_choice_among_values(page, retriever, browser, address):
    seen = check(page, "split", "it's a test")
    assert seen.asked["where"] == "split = 'it''s a test'"
    assert seen.answered["searched"] == 20
    assert on.shown(page) == captions(retriever, where="split = 'it''s a test'")
    seen = check(page, "split", "(none)")
    assert seen.answered["searched"] == 40
    both = captions(retriever, where="split = 'it''s a test' OR split IS NULL")
    assert on.shown(page) == both
    path = page.url.removeprefix(address)
    with on.visiting(browser, address, path, EXPECTED) as again:
        assert on.shown(again) == both
        choices = again.get_by_role("group", name="split")
        assert choices.get_by_label("(none)").is_checked()
        assert not choices.get_by_label("train").is_checked()


def test_a_column_of_truth_values(page, retriever):
    seen = check(page, "even", "true")
    assert seen.answered["searched"] == 30
    assert on.shown(page) == captions(retriever, where="even = TRUE")


def test_a_range_and_words_together(page, retriever):
    page.click("summary:text-is('number')")
    page.get_by_label("number from").fill("10")
    with on.searching(page):
        page.keyboard.press("Tab")
    page.click("summary:text-is('caption')")
    page.get_by_label("caption contains").fill("number 1")
    with on.searching(page) as seen:
        page.keyboard.press("Enter")
    assert seen.answered["searched"] == 10
    where = "number >= 10 AND caption ILIKE '%number 1%'"
    assert page.inner_text("#condition") == where
    assert on.shown(page) == captions(retriever, where=where)
    with on.searching(page) as seen:
        page.click("#no-filters")
    assert "where" not in seen.asked
    assert page.get_by_label("number from").input_value() == ""


def test_a_condition_written_by_hand(page, retriever):
    check(page, "even", "false")
    page.click("summary:text-is('Condition')")
    page.fill("#where", "number < 4 OR number > 55")
    with on.searching(page) as seen:
        page.keyboard.press("Enter")
    assert seen.asked["where"] == "even = FALSE AND (number < 4 OR number > 55)"
    numbers = sorted(hit["metadata"]["number"] for hit in seen.answered["hits"])
    assert numbers == [1, 3, 57, 59]


def test_a_condition_that_cannot_be_read(page):
    before = on.shown(page)
    page.click("summary:text-is('Condition')")
    page.fill("#where", "nosuch > 3")
    with on.searching(page) as seen:
        page.keyboard.press("Enter")
    assert "nosuch" in seen.answered["error"]
    assert seen.answered["error"][1:] in page.inner_text("#problem")
    assert on.shown(page) == before
    page.fill("#where", "")
    with on.searching(page):
        page.keyboard.press("Tab")
    assert page.inner_text("#problem") == ""


def test_least_percentile_and_cosine(page, retriever):
    hits = retriever.search("a red circle", k=40).hits
    page.fill("#threshold", f"{hits[9].cosine - 1e-4:.4f}")
    with on.searching(page):
        page.keyboard.press("Tab")
    assert len(on.shown(page)) == 10
    page.focus("#percentile")
    with on.searching(page) as seen:
        page.keyboard.press("End")
    assert seen.asked["least_percentile"] == 100
    expected = [
        hit.metadata["caption"] for hit in hits[:10] if hit.percentile and hit.percentile >= 100
    ]
    assert on.shown(page) == expected
    assert page.inner_text("#percentile-value") == "100 %"


def test_nothing_found_says_why_and_how_to_go_on(page):
    page.fill("#threshold", "0.9999")
    with on.searching(page):
        page.keyboard.press("Tab")
    assert "No picture reaches" in page.inner_text("#empty")
    with on.searching(page):
        page.click("text=Search without them")
    assert len(on.shown(page)) == 40
    assert page.input_value("#threshold") == ""


def test_hubs_and_near_duplicates(page, retriever):
    page.fill("#k", "60")
    with on.searching(page):
        page.keyboard.press("Tab")
    with on.searching(page):
        page.get_by_label("Mark down hubs").check()
    assert on.shown(page) == captions(retriever, k=60, hubness=True)
    with on.searching(page):
        page.get_by_label("Near-duplicates as one").check()
    found = retriever.search("a red circle", k=60, hubness=True, group=True).hits
    badges = [f"+{len(hit.duplicates)}" for hit in found if hit.duplicates]
    assert badges
    assert page.locator(".badge").all_text_contents() == badges
    page.click(".tile:has(.badge) .picture")
    assert page.locator("#lightbox-duplicates img").count() >= 1


def test_more_results_than_the_server_gives(page):
    page.fill("#k", "5000")
    with on.searching(page) as seen:
        page.keyboard.press("Tab")
    assert seen.asked["k"] == 1000
    assert page.input_value("#k") == "1000"


def test_another_index(page):
    check(page, "even", "true")
    with on.searching(page) as seen:
        page.select_option("#index", "colours")
    assert (seen.asked["index"], seen.answered["searched"]) == ("colours", 6)
    assert "where" not in seen.asked
    assert page.get_by_role("group", name="caption").get_by_label("lime").is_visible()
    with on.searching(page):
        page.go_back()
    assert page.input_value("#index") == "pictures"
    assert page.get_by_role("group", name="even").get_by_label("true").is_checked()
