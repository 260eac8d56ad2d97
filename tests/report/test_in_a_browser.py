"""The pages in a real headless Chromium: they render, they work, they are accessible."""

import os
import shutil

import pytest

from tests.report.conftest import HOSTILE, make_pictures
from tests.report.sweeps import make_sweep
from tlkit import thumbnails, write_index, write_report
from tlkit.report.sweep_page import write_sweep_report

pytestmark = pytest.mark.browser
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
READY = "html[data-charts=drawn]"


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    # Containers run as root, where Chromium refuses to start with its sandbox.
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"] if root else []
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Open a page; whatever it says on the console or asks of the network fails the test."""
    contexts, problems = [], []

    def visit(path, width=1280, scheme="light"):
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(dialog.message) or dialog.dismiss())
        page.on("request", lambda request: note(request.url, path))
        page.goto(path.resolve().as_uri())
        page.wait_for_selector(READY, timeout=60_000)
        return page

    def note(url, path):
        if url != path.resolve().as_uri() and not url.startswith("data:"):
            problems.append(f"asked for {url}")

    yield visit
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def report(saved_run):
    return write_report(saved_run(temperature=1.3, class_counts=tuple(range(10, 20))))


def violations(page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [(item["id"], item["nodes"][0]["html"]) for item in found]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_are_accessible_and_fit_the_screen(visit, report, width, scheme):
    make_sweep(report.parent.parent.parent / "sweep")
    sweep = write_sweep_report(report.parent.parent.parent / "sweep")
    for path in (report, write_index(report.parent.parent), sweep):
        page = visit(path, width, scheme)
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == width
        for chart in page.query_selector_all(".chart"):
            assert chart.query_selector("svg path, svg line") is not None
            box = chart.query_selector("svg").bounding_box()
            assert box["x"] >= 0
            # A chart of many axes scrolls sideways on a narrow screen.
            scrolls = chart.evaluate("item => item.parentElement.matches('.broad')")
            assert scrolls or box["x"] + box["width"] <= width


CURRENT = "[...document.querySelectorAll('nav a[aria-current]')].map((link) => link.hash)"


def wait_for(page, current):
    """Wait until the navigation marks a section; the page's policy forbids wait_for_function()."""
    for _ in range(100):
        if page.evaluate(CURRENT) == current:
            return
        page.wait_for_timeout(50)
    pytest.fail(f"{page.evaluate(CURRENT)} instead of {current}")


@pytest.mark.parametrize("width", [1280, 390])
def test_the_navigation_marks_the_section_at_the_top(visit, report, width):
    page = visit(report, width)
    assert page.evaluate(CURRENT) == []  # beside the headline
    for link in page.query_selector_all("nav a"):
        # By script: the strip may still move under a pointer.
        link.evaluate("link => link.click()")
        name = link.get_attribute("href")
        wait_for(page, [name])
        box = link.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    page.evaluate("scrollTo(0, 0)")
    wait_for(page, [])


def test_what_scrolls_sideways_fades_at_the_side_that_goes_on(visit, report):
    page = visit(report, 390)
    region = page.locator("#classes .scrolled")

    def fades():
        return [name for name in ("before", "after") if f"more-{name}" in classes()]

    def classes():
        page.wait_for_timeout(100)
        return region.get_attribute("class")

    assert fades() == ["after"]
    assert "gradient" in region.evaluate("item => getComputedStyle(item).maskImage")
    region.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(300)
    assert fades() == ["before", "after"]
    region.evaluate("item => { item.scrollLeft = 1e6; }")
    assert fades() == ["before"]
    page.set_viewport_size({"width": 1280, "height": 900})
    assert fades() == []
    assert region.evaluate("item => getComputedStyle(item).maskImage") == "none"


def test_an_open_viewer_is_accessible_too(visit, report):
    for scheme in ("light", "dark"):
        page = visit(report, 390, scheme)
        page.click("#mistakes .thumb")
        assert page.is_visible("#viewer")
        assert violations(page) == []


def test_the_axe_check_can_fail(visit, report):
    page = visit(report)
    page.evaluate("document.querySelector('#cell img').removeAttribute('alt')")
    page.evaluate("document.querySelector('h1').style.color = '#f0f0f0'")
    assert {"image-alt", "color-contrast"} <= {name for name, _ in violations(page)}


def test_a_click_on_a_cell_shows_its_very_images(visit, saved_run):
    result = saved_run(count=700)
    page = visit(write_report(result))
    test, kept = result.test, {item.index for item in thumbnails.load(result.folder)}
    matrix = test.confusion_matrix
    for row, column in ((0, 0), (3, 5), (9, 2)):
        page.click(f'#matrix button[data-row="{row}"][data-column="{column}"]')
        expected = {
            index
            for index in kept
            if (test.labels[index], test.predictions[index]) == (row, column)
        }
        sources = page.eval_on_selector_all("#cell-images img", "all => all.map(one => one.src)")
        assert {number_of(page, source) for source in sources} == expected
        assert page.inner_text("#cell-text").startswith(f"{matrix[row, column]} test image")
        if len(expected) < matrix[row, column]:
            assert f"{len(expected) or 'None'} of them shown" in page.inner_text("#cell-text")
    names = result.info.class_names
    assert page.inner_text("#cell-title") == f"{names[9]} taken for {names[2]}"


def number_of(page, source):
    """Decode a picture in the browser, and read the number that its first pixel holds."""
    return page.evaluate(
        """async (source) => {
            const image = new Image();
            image.src = source;
            await image.decode();
            const canvas = document.createElement("canvas");
            canvas.width = image.width;
            canvas.height = image.height;
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            const [high, low] = context.getImageData(0, 0, 1, 1).data;
            return 256 * high + low;
        }""",
        source,
    )


def test_counts_and_both_shares(visit, saved_run):
    result = saved_run(count=700)
    page = visit(write_report(result))
    matrix = result.test.confusion_matrix
    cell = '#matrix button[data-row="3"][data-column="3"]'
    assert page.inner_text(cell) == str(matrix[3, 3])
    for unit, total in (("true", matrix[3].sum()), ("predicted", matrix[:, 3].sum())):
        page.check(f'input[value="{unit}"]', force=True)
        assert page.inner_text(cell) == f"{100 * matrix[3, 3] / total:.0f}"
    page.check('input[value="counts"]', force=True)
    assert page.inner_text(cell) == str(matrix[3, 3])


def test_the_keyboard_alone_is_enough(visit, report):
    page = visit(report)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus('#matrix button[tabindex="0"]')
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    focused = page.evaluate("({...document.activeElement.dataset})")
    assert focused["column"] == "1"
    page.keyboard.press("Enter")
    assert page.get_attribute(":focus", "aria-pressed") == "true"
    assert page.locator('#matrix button[tabindex="0"]').count() == 1
    page.focus("#mistakes .thumb")
    page.keyboard.press("Enter")
    title = page.inner_text("#viewer-title")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#viewer-title") != title
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#viewer-title") == title
    page.keyboard.press("Escape")
    assert not page.is_visible("#viewer")
    assert page.evaluate("document.activeElement.className") == "thumb"


def test_the_table_of_classes_sorts(visit, report):
    page = visit(report)

    def column(number):
        return page.eval_on_selector_all(
            f"#classes tbody tr > :nth-child({number})", "all => all.map(one => one.innerText)"
        )

    page.click("#classes thead th:nth-child(4) button")
    shares = [float(text.rstrip(" %")) for text in column(4)]
    assert shares == sorted(shares, reverse=True)
    assert page.get_attribute("#classes thead th:nth-child(4)", "aria-sort") == "descending"
    page.click("#classes thead th:nth-child(4) button")
    assert column(4) == [f"{share:.1f} %" for share in sorted(shares)]
    page.click("#classes thead th:nth-child(6) button")
    assert column(6) == [str(count) for count in range(19, 9, -1)]
    page.click("#classes thead th:nth-child(1) button")
    assert column(1)[:2] == ["airplane", "automobile"]
    assert page.locator("#classes th[aria-sort]").count() == 1
    assert "Mean of the classes" in page.inner_text("#classes tfoot")


def test_the_index_sorts_by_accuracy(visit, saved_run, tmp_path):
    for name, skill in (("a", 0.5), ("b", 0.9), ("c", 0.7)):
        saved_run(name, skill=skill)
    page = visit(write_index(tmp_path / "runs"))
    page.click("th:has-text('Accuracy') button")
    rows = page.eval_on_selector_all("tbody th", "all => all.map(one => one.innerText)")
    assert rows == ["b", "c", "a"]


def test_the_theme_changes_page_and_charts(visit, report):
    page = visit(report)
    seen = set()
    for _ in range(3):
        page.click("#theme")
        page.wait_for_timeout(1500)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        label = page.evaluate(
            "document.querySelector('#chart-loss .role-axis-label text').getAttribute('fill')"
        )
        seen.add((page.inner_text("#theme"), background, label))
    assert len(seen) == 3
    assert len({background for _, background, _ in seen}) == 2
    assert len({label for *_, label in seen}) == 2


def test_many_classes_show_a_part_and_every_class_can_be_asked_for(visit, saved_run):
    names = tuple(f"class {index}" for index in range(100))
    result = saved_run(class_names=names, count=3000)
    page = visit(write_report(result))
    matrix = result.test.confusion_matrix
    assert page.locator("#matrix tbody tr").count() == 13
    page.select_option("#focus", "77")
    rows = page.eval_on_selector_all("#matrix tbody th", "all => all.map(one => one.innerText)")
    assert "class 77" in rows
    assert rows[-1] == "88 others"
    place = rows.index("class 77")
    cells = page.eval_on_selector_all(
        f'#matrix button[data-row="{place}"]',
        "all => all.map(one => Number(one.innerText.replace('·', '0')))",
    )
    assert sum(cells) == matrix[77].sum()
    assert cells[place] == matrix[77, 77]
    page.click(f'#matrix button[data-row="{place}"][data-column="12"]')
    assert page.inner_text("#cell-title") == "class 77 taken for 88 others"
    page.click("#confusion .show-cell >> nth=0")
    row = page.locator("#confusion tbody tr:has(.show-cell)").first
    wanted = f"{row.locator('th').inner_text()} taken for {row.locator('td').first.inner_text()}"
    assert page.inner_text("#cell-title") == wanted


def test_hostile_names_run_nothing(visit, saved_run):
    result = saved_run(
        class_names=HOSTILE,
        images=make_pictures(500),
        names=("<img src=x onerror=alert(1)>",) * 500,
        notes=("<script>alert(1)</script>",),
    )
    page = visit(write_report(result))
    page.click("#mistakes .thumb")
    assert page.locator("bdi:text-is('<img src=x onerror=alert(1)>')").count() > 0
    assert violations(page) == []
    visit(write_index(result.folder.parent))


def test_without_javascript_the_figures_stay(chromium, report):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.resolve().as_uri())
    text = page.inner_text("main")
    buttons = page.locator("button:visible").count()
    context.close()
    assert "Test accuracy" in text
    assert "need JavaScript" in text
    assert "Most frequent confusions" in text
    assert buttons == 0


def test_the_browser_refuses_network_and_foreign_scripts(chromium, report):
    text = report.read_text()
    changed = text.replace(
        "</main>",
        '<script>window.foreign = 1</script><img src="https://example.invalid/a.png" '
        'onerror="window.foreign = 2"></main>',
    )
    assert changed != text
    report.write_text(changed)
    context = chromium.new_context()
    page = context.new_page()
    refused = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(report.resolve().as_uri())
    page.wait_for_selector(READY, timeout=60_000)
    assert page.evaluate("window.foreign") is None
    fetched = page.evaluate("fetch('https://example.invalid/').then(() => 'yes', () => 'no')")
    assert fetched == "no"
    context.close()
    policy = [line for line in refused if "Content Security Policy" in line]
    assert any("inline script" in line for line in policy)
    assert any("img-src" in line for line in policy)
    assert any("connect" in line for line in policy)
