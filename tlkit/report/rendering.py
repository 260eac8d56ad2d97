"""Rendering: templates, style, scripts and charts become one page that loads nothing."""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib.resources import files
from typing import Any

from tlkit.errors import PluginError
from tlkit.extras import require_modules

MAX_BYTES = 3_000_000
EXTRA = "'tlkit[html]'"
_JSON: dict[str, Any] = {"ensure_ascii": False, "separators": (",", ":"), "allow_nan": False}
MODULES = ("jinja2", "vl_convert")


def require_extra() -> None:
    """Import what pages are made with.

    Raises:
        PluginError: If it is not installed; the message says how to install it.
    """
    require_modules("HTML reports need", MODULES, EXTRA)


def render(template: str, data: dict[str, Any], charts: dict[str, Any], **values: Any) -> str:
    """Return a page as HTML.

    Args:
        template: The file name of the template.
        data: What the page's script works with, as plain JSON values; ``charts`` is added.
        charts: The Vega-Lite specification of each chart by the id of its element.
        values: What the template shows; all text is escaped.

    Raises:
        PluginError: If the extra is not installed.
    """
    require_extra()
    script, library = _asset("page.js"), _chart_library()
    return str(
        _environment()
        .get_template(template)
        .render(
            **values,
            charts=charts,
            data={**data, "charts": charts},
            style=_asset("page.css"),
            script=script,
            library=library,
            script_hashes=[_hash(library), _hash(script)],
        )
    )


def json_bytes(value: Any) -> int:
    """Return how many bytes a value takes in the page."""
    from jinja2.utils import htmlsafe_json_dumps

    return len(htmlsafe_json_dumps(value, **_JSON).encode())


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _asset(name: str) -> str:
    return (files("tlkit.report") / "templates" / name).read_text(encoding="utf-8").strip()


@functools.cache
def _chart_library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # The browser ends the script at the first such tag, wherever it stands.
    if "</script" in bundle.lower() or "<!--" in bundle:
        raise PluginError("The chart library of vl-convert cannot be put into a page.")
    return bundle.strip()


@functools.cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tlkit.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = _JSON
    return environment
