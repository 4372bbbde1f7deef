"""The page in a browser: pictures that the user brings."""

import base64
import io

import pytest
from PIL import Image

from tests.vlp.serve import page_fixtures as on
from tests.vlp.serve.serving import noise, serving
from vlp.retrieval.query import Query
from vlp.serve.bounds import Bounds

pytestmark = pytest.mark.browser
EXPECTED = [r"404.*api/picture/pictures/7", r"4(13|22).*api/search"]


@pytest.fixture
def expected_errors():
    return EXPECTED


def captions(retriever, **query):
    return [hit.metadata["caption"] for hit in retriever.search(Query(k=40, **query)).hits]


def test_a_dropped_picture_is_sent_as_it_is(page, retriever):
    image = noise(50, 40)
    data = on.file_of(image)
    with on.searching(page) as seen:
        on.drop(page, data)
    assert seen.asked["images"] == [base64.b64encode(data).decode()]
    assert on.shown(page) == captions(retriever, images=[image])
    assert "photo.png" in page.inner_text("#chips")
    assert page.locator("#chips img").evaluate("image => image.naturalWidth") == 50
    assert page.locator("#drop").is_hidden()


def test_large_pictures_are_made_smaller_and_upright(page):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    data = on.file_of(Image.new("RGB", (3000, 2000), "red"), "JPEG", exif=exif)
    with on.searching(page) as seen:
        on.drop(page, data, "large.jpg", "image/jpeg")
    with Image.open(io.BytesIO(base64.b64decode(seen.asked["images"][0]))) as sent:
        assert (sent.format, sent.size) == ("JPEG", (683, 1024))
        assert not sent.getexif().get(0x0112)
        red, green, blue = sent.convert("RGB").getpixel((300, 300))
    assert red > 240
    assert max(green, blue) < 15


def test_transparency_of_large_pictures_is_white(page):
    data = on.file_of(Image.new("RGBA", (1500, 1500), (0, 0, 0, 0)))
    with on.searching(page) as seen:
        on.drop(page, data)
    with Image.open(io.BytesIO(base64.b64decode(seen.asked["images"][0]))) as sent:
        assert min(sent.convert("RGB").getpixel((300, 300))) > 250


def test_a_pasted_picture_beside_a_text_that_was_not_sent_yet(page, retriever):
    image = noise(30, 30, seed=1)
    page.fill("#text", "in the snow")
    with on.searching(page) as seen:
        on.paste(page, on.file_of(image))
    assert seen.asked["texts"] == ["in the snow"]
    assert on.shown(page) == captions(retriever, texts=["in the snow"], images=[image])


def test_chosen_files(page, retriever, tmp_path):
    images = [noise(30, 30, seed=2), noise(30, 40, seed=3)]
    for number, image in enumerate(images):
        image.save(tmp_path / f"{number}.png")
    with page.expect_file_chooser() as chooser:
        page.click("#choose")
    with on.searching(page):
        chooser.value.set_files([tmp_path / "0.png", tmp_path / "1.png"])
    assert on.shown(page) == captions(retriever, images=images)
    with on.searching(page):
        page.get_by_label("Remove 0.png").click()
    assert on.shown(page) == captions(retriever, images=images[1:])


def test_a_result_dragged_into_the_search(page, retriever):
    on.search(page, "a red circle")
    hit = retriever.search("a red circle", k=3).hits[2].id
    with on.searching(page):
        page.drag_and_drop(".tile img >> nth=2", "header")
    assert f"like #{hit}" in page.inner_text("#chips")


def test_a_link_says_that_it_cannot_carry_pictures(page, browser, address):
    on.search(page, "a red circle")
    with on.searching(page):
        on.drop(page, on.file_of(noise(20, 20)))
    path = page.url.removeprefix(address)
    assert "pictures=1" in path
    with on.visiting(browser, address, path, EXPECTED) as again:
        assert "1 picture from somebody’s computer" in again.inner_text("#notes")
        with on.searching(again):
            on.drop(again, on.file_of(noise(20, 20)))
        assert again.inner_text("#notes") == ""
        assert on.shown(again) == on.shown(page)


def test_back_keeps_the_picture_and_reload_says_that_it_is_gone(page):
    with on.searching(page):
        on.drop(page, on.file_of(noise(20, 20)))
    before = on.shown(page)
    on.search(page, "a red circle")
    with on.searching(page):
        page.go_back()
    assert on.shown(page) == before
    page.reload()
    page.wait_for_selector("#notes li")
    assert "1 picture from somebody’s computer" in page.inner_text("#notes")


def test_what_is_no_picture(page):
    on.search(page, "a red circle")
    on.drop(page, b"hello", "notes.txt", "text/plain")
    page.wait_for_selector("#problem p")
    assert "“notes.txt” is no picture" in page.inner_text("#problem")
    assert len(on.shown(page)) == 40
    with on.searching(page) as seen:
        on.drop(page, b"hello", "broken.jpg", "image/jpeg")
    assert page.inner_text("#problem p").lower() == seen.answered["error"].lower() + "."
    assert page.locator("#chips .chip").count() == 2
    with on.searching(page):
        page.get_by_label("Remove broken.jpg").click()
    assert page.inner_text("#problem") == ""


def test_more_than_the_server_accepts(browser, retriever):
    with (
        serving({"pictures": retriever}, Bounds(upload_bytes=20_000, per_minute=0)) as address,
        on.visiting(browser, address, expected_errors=EXPECTED) as page,
    ):
        on.drop(page, on.file_of(noise(200, 200)))
        page.wait_for_selector("#problem p")
        assert "larger than this server accepts (15 kB)" in page.inner_text("#problem")


def test_text_that_is_pasted_with_a_picture_of_itself_stays_text(page):
    page.evaluate(
        """() => {
          const transfer = new DataTransfer();
          transfer.items.add(new File(["x"], "text.png", {type: "image/png"}));
          transfer.setData("text/plain", "words");
          const box = document.querySelector("#text");
          const event = new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true,
            cancelable: true});
          document.title = box.dispatchEvent(event) ? "as usual" : "taken";
        }"""
    )
    assert page.title() == "as usual"
