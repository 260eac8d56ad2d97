"""The documentation site: built strictly, complete, whole in a browser, with no outside request."""

import functools
import http.server
import json
import re
import subprocess
import sys
import threading

import html5lib
import jsonschema
import pytest
import typer

import tlkit
from tests.docs.blocks import ROOT
from tests.report.test_in_a_browser import chromium  # noqa: F401 (a fixture)
from tlkit import TlkitError, cli, errors
from tlkit.config_schema import config_schema
from tlkit.registry import HOOK_BY_KIND, Registry

pytest.importorskip("material", reason="mkdocs-material is not installed: pip install '.[docs]'")
FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
# A screen and a telephone.
WIDTHS = (1280, 390)
TWO_FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING " not in done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site):
    """The site behind a web server of this machine."""
    handler = functools.partial(_Quiet, directory=str(site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def text_of(path):
    return " ".join(html5lib.parse(path.read_bytes(), namespaceHTMLElements=False).itertext())


def test_every_public_name_has_its_entry(site):
    page = (site / "reference" / "python.html").read_text()
    missing = [name for name in tlkit.__all__ if f'id="tlkit.{name}"' not in page]
    assert missing == []


def test_every_command_has_its_section(site):
    found = text_of(site / "reference" / "commands.html")
    group = typer.main.get_command(cli.app)
    for name, command in group.commands.items():
        assert f"tlkit {name}" in found
        for option in command.params:
            if option.param_type_name == "option" and option.name != "help":
                assert option.opts[0] in found, f"{name} {option.opts[0]}"


def test_every_hook_and_every_key_is_told(site):
    hooks = text_of(site / "reference" / "hooks.html")
    assert all(name in hooks for name in HOOK_BY_KIND.values())
    keys = text_of(site / "reference" / "config-keys.html")
    for entry in Registry(entry_points=False).list():
        assert entry.name in keys
        assert all(name in keys for name in tlkit.options.allowed_options(entry.plugin))


def test_the_schema_for_editors_is_published(site):
    published = json.loads((site / "reference" / "config.schema.json").read_text())
    assert published == config_schema(Registry(entry_points=False))
    jsonschema.Draft202012Validator.check_schema(published)


def test_every_error_class_has_a_cause_and_a_cure(site):
    page = (site / "reference" / "errors.html").read_text()
    kinds = [item for item in vars(errors).values() if isinstance(item, type)]
    for kind in kinds:
        if issubclass(kind, TlkitError):
            assert f">{kind.__name__}<" in page
            if kind not in (errors.TlkitError, errors.PictureError):
                cure = (kind.__doc__ or "").strip().split("\n\n")
                assert len(cure) > 1, f"{kind.__name__} says no cure"


@pytest.mark.parametrize(
    "part",
    [
        "Unknown recipe",
        "Allowed: TABLE.KEY=VALUE",
        "Wrong value for key",
        "A run takes the two fifths of nothing",
    ],
)
def test_messages_of_the_source_are_found(site, part):
    found = re.sub(r"\s+", " ", text_of(site / "reference" / "errors.html"))
    assert (part in found) == (part != "A run takes the two fifths of nothing")


def test_no_page_fetches_anything_from_elsewhere(site):
    for path in site.rglob("*.html"):
        tree = html5lib.parse(path.read_bytes(), namespaceHTMLElements=False)
        for name, attribute in FETCHED.items():
            for node in tree.iter(name):
                target = node.get(attribute) or ""
                ours = not re.match(r"[a-z]+:|//", target) or target.startswith("data:")
                assert ours or node.get("rel") == "canonical", f"{path.name}: {target}"


@pytest.mark.browser
def test_every_page_in_a_browser(site, address, chromium):  # noqa: F811
    context = chromium.new_context(viewport={"width": WIDTHS[0], "height": 900})
    page, problems = context.new_page(), []
    page.on("console", lambda message: problems.append(f"{page.url}: {message.text}"))
    page.on("pageerror", lambda error: problems.append(f"{page.url}: {error}"))
    page.on("request", lambda request: _note(request.url, address, problems))
    page.on("response", lambda response: _note_missing(response, problems))
    for path in sorted(site.rglob("*.html")):
        if path.name == "404.html":
            continue
        page.set_viewport_size({"width": WIDTHS[0], "height": 900})
        page.goto(f"{address}{path.relative_to(site)}")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            # The scripts of the page set its parts anew in the frame after.
            page.evaluate(TWO_FRAMES)
            assert page.evaluate("window.innerWidth") == width
            over = page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            if over > 0:
                problems.append(f"{page.url}: {over} of {width} pixels too wide")
        if page.locator("h1").count() != 1:
            problems.append(f"{page.url}: {page.locator('h1').count()} titles")
    context.close()
    assert problems == []


@pytest.mark.browser
def test_the_search_finds_an_error_message(address, chromium):  # noqa: F811
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(f"{address}index.html")
    page.locator("[data-md-component=search-query]").fill("nothing says what to run")
    page.wait_for_selector(".md-search-result__link")
    links = page.locator(".md-search-result__link").evaluate_all("all => all.map(a => a.href)")
    context.close()
    assert any("reference/errors.html" in link for link in links)


def _note(url, address, problems):
    if not url.startswith((address, "data:", "blob:")):
        problems.append(f"asked for {url}")


def _note_missing(response, problems):
    if response.status >= 400:
        problems.append(f"{response.url}: {response.status}")
