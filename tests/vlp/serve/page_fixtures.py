"""A browser, an index with pictures worth looking at, and ways to act on the page."""

import base64
import contextlib
import io
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from vlp.retrieval.retriever import Retriever

GONE = r"404.*api/picture/pictures/7"  # the picture whose file is gone
HOSTILE = '<img src=x onerror="document.title=1337"><script>document.title=1337</script>'
FORMULA = '=HYPERLINK("http://example.com","dog")'
SIZES = [(60, 40), (40, 60), (50, 50), (90, 30)]
COUNT = 60
_DROP = """([name, type, text]) => {
  const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, {type}));
  const fire = (kind) => document.querySelector("main").dispatchEvent(
    new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
  const paste = () => document.querySelector("main").dispatchEvent(
    new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true, cancelable: true}));
  return KIND;
}"""


@contextlib.contextmanager
def browsing():
    """Chromium, driven by Playwright."""
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    path = next(filter(None, found), None)
    if path is None:
        pytest.skip("no Chromium to test the page in")
    api = pytest.importorskip("playwright.sync_api", reason="no Playwright to drive Chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def make_pictures(folder, checkpoint, name="pictures"):
    """An index of 60 pictures; number 7 is gone from the disk, 8 and 9 are the same."""
    files = folder / f"files of {name}"
    files.mkdir(parents=True)
    random = np.random.default_rng(0)
    paths, rows, image = [], [], None
    for number in range(COUNT):
        path = files / f"{number:02}.png"
        image = image if number == 9 else scene(random, SIZES[number % len(SIZES)])
        image.save(path)
        paths.append(path)
        caption = {2: HOSTILE, 3: FORMULA}.get(number, f"scene number {number}")
        split = [None, "train", "it's a test"][number % 3]
        row = {"caption": caption, "split": split, "number": number, "even": number % 2 == 0}
        rows.append({**row, "width": image.width, "height": image.height})
    retriever = Retriever.from_checkpoint(checkpoint, folder / name)
    retriever.add(paths, rows)
    paths[7].unlink()
    return retriever


def scene(random, size):
    """Some shapes on a background."""
    image = Image.new("RGB", size, tuple(random.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(3):
        (x, y), colour = random.integers(0, 40, 2), tuple(random.integers(0, 256, 3).tolist())
        draw.ellipse([x, y, x + 16, y + 16], fill=colour)
    return image


def file_of(image, kind="PNG", **options):
    """A picture as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@contextlib.contextmanager
def visiting(browser, address, path="", expected_errors=(), **context):
    """The page. It must ask no other server, and report only expected errors on the console."""
    context = {"viewport": {"width": 1280, "height": 800}, **context}
    with browser.new_context(**context) as visit:
        page = visit.new_page()
        page.set_default_timeout(10_000)
        errors, foreign = [], []
        page.on("console", lambda message: note(message, errors))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: foreign.append(request.url))
        page.goto(address + path)
        settled(page)
        yield page
        unexpected = [
            error
            for error in errors
            if not any(re.search(pattern, error) for pattern in expected_errors)
        ]
        assert not unexpected
        own = (address, "data:", "blob:")
        assert not [url for url in foreign if not url.startswith(own)]


def note(message, errors):
    if message.type in ("error", "warning"):
        errors.append(f"{message.text} {message.location.get('url', '')}")


def settled(page):
    """Wait until no search is under way."""
    page.wait_for_selector('#grid[aria-busy="false"]', state="attached")


@contextlib.contextmanager
def searching(page):
    """Wait for the search that the block starts; its `asked` and `answered` are given."""
    seen = SimpleNamespace(asked=None, answered=None)
    with page.expect_response("**/api/search") as caught:
        yield seen
    seen.asked, seen.answered = caught.value.request.post_data_json, caught.value.json()
    settled(page)


def search(page, text):
    """Search for a text as a user does."""
    page.fill("#text", text)
    with searching(page) as seen:
        page.keyboard.press("Enter")
    return seen


def drop(page, data, name="photo.png", kind="image/png"):
    """Drop a file on the page."""
    script = _DROP.replace("KIND", '[fire("dragenter"), fire("dragover"), fire("drop")]')
    page.evaluate(script, [name, kind, base64.b64encode(data).decode()])


def paste(page, data, name="photo.png", kind="image/png"):
    """Paste a file into the page."""
    page.evaluate(_DROP.replace("KIND", "paste()"), [name, kind, base64.b64encode(data).decode()])


def shown(page):
    """Captions of the results, in order."""
    return page.locator(".tile .under p").all_text_contents()
