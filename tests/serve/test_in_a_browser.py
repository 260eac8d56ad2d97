"""The page in a real headless Chromium: a picture goes in, classes and heat come out."""

import base64

import numpy as np
import pytest

from tests.report.test_in_a_browser import chromium, violations  # noqa: F401 (a fixture)
from tests.serve.conftest import TOKEN, encode
from tests.tiny import CLASS_NAMES

pytestmark = pytest.mark.browser


@pytest.fixture
def visit(chromium):  # noqa: F811
    """Open a service's page; what it says on the console or asks of others fails the test."""
    contexts, problems = [], []

    def visit(run, width=1280, scheme="light", allowed=()):
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme
        )
        contexts.append(context)
        page = context.new_page()

        def note(text):
            if not any(part in text for part in allowed):
                problems.append(text)

        def asked(url):
            if not url.startswith((run.url, "blob:", "data:")):
                problems.append(f"asked for {url}")

        page.on("console", lambda message: note(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: asked(request.url))
        page.goto(f"{run.url}/")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture(scope="module")
def picture(images):
    return {"name": "red.png", "mimeType": "image/png", "buffer": encode(images[0])}


def wait_for_answer(page):
    page.wait_for_selector("#classes button", timeout=30_000)
    page.wait_for_selector("#status:not(.working)", timeout=30_000)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible_and_fits_the_screen(visit, served, picture, width, scheme):
    page = visit(served, width, scheme)
    page.wait_for_selector("text=tells apart: red, green, blue.")
    assert page.locator("footer a:visible").count() == 3
    assert "Authorization" not in page.inner_text("footer")
    assert violations(page) == []
    page.set_input_files("#file", picture)
    wait_for_answer(page)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_picture_gets_its_answer_and_its_heat(visit, served, picture, expected):
    page = visit(served)
    page.set_input_files("#file", picture)
    wait_for_answer(page)
    order = np.argsort(-expected[0])
    names = page.eval_on_selector_all("#classes .name", "all => all.map(one => one.innerText)")
    shares = page.eval_on_selector_all("#classes .share", "all => all.map(one => one.innerText)")
    assert names == [CLASS_NAMES[index] for index in order]
    assert shares == [f"{100 * expected[0][index]:.1f} %" for index in order]
    box, heat = page.locator("#picture").bounding_box(), page.locator("#heat").bounding_box()
    assert box == heat
    assert page.locator("#heat").evaluate("item => item.naturalWidth") == 16
    assert "red.png, 12 × 12 pixels" in page.inner_text("#caption")  # noqa: RUF001
    page.locator("#opacity").fill("30")
    assert page.locator("#heat").evaluate("item => item.style.opacity") == "0.3"


def test_the_keyboard_alone_is_enough(visit, served, picture):
    page = visit(served)
    choosers = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    for tenth in range(300):
        if choosers:
            break
        if tenth % 100 == 0:  # Chromium may drop a key on a busy machine
            page.keyboard.press("Space")
        page.wait_for_timeout(100)
    choosers[0].set_files(picture)
    wait_for_answer(page)
    first = page.get_attribute("#heat", "src")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    chosen = page.inner_text(":focus .name")
    page.keyboard.press("Enter")
    page.wait_for_selector(f'#explained:text-is("{chosen}")')
    assert page.inner_text(":focus .name") == chosen
    assert page.get_attribute(":focus", "aria-pressed") == "true"
    assert page.get_attribute("#heat", "src") != first


def test_a_dropped_picture(visit, served, picture):
    page = visit(served)
    page.evaluate(
        """(content) => {
            const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
            const event = new DragEvent("drop", { dataTransfer: data, bubbles: true });
            document.body.dispatchEvent(event);
        }""",
        base64.b64encode(picture["buffer"]).decode(),
    )
    wait_for_answer(page)
    assert "dropped.png" in page.inner_text("#caption")


def test_what_cannot_be_read_is_told(visit, served, picture):
    page = visit(served, allowed=("400 (Bad Request)",))
    broken = {"name": "<b>x.png", "mimeType": "image/png", "buffer": b"broken"}
    page.set_input_files("#file", broken)
    page.wait_for_selector("#status.error")
    assert "no picture of a kind that is read" in page.inner_text("#status")
    assert page.inner_text("#caption") == "This browser cannot show this file."
    assert violations(page) == []
    page.set_input_files("#file", picture)
    wait_for_answer(page)
    assert page.locator("#status.error").count() == 0


def test_the_token_is_asked_for(visit, serve, picture):
    run = serve(token=TOKEN)
    page = visit(run, allowed=("401 (Unauthorized)",))
    page.wait_for_selector("#token-form")
    assert violations(page) == []
    page.fill("#token", "wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=wants a token: the header")
    page.fill("#token", TOKEN)
    page.click("text=Use it")
    page.wait_for_selector("text=tells apart")
    # A browser would not send the token with a link.
    assert page.locator("a:visible").count() == 0
    assert "with the header Authorization" in page.inner_text("footer")
    page.set_input_files("#file", picture)
    wait_for_answer(page)
    assert not page.is_visible("#token-form")
