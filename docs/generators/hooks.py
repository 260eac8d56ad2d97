"""The page of the plugin hooks, made from their specifications."""

from __future__ import annotations

import inspect
import textwrap

from tlkit import hookspecs
from tlkit.registry import HOOK_BY_KIND, KINDS

_INTRODUCTION = """# Plugin hooks

A distribution offers plugins by an entry point of the group `tlkit`, which names a module (or an
object) with one or more of these hooks; [pluggy](https://pluggy.readthedocs.io) calls them. Each
receives `register` and calls it with a class. [Writing a plugin](../how-to/plugins.md) has the
whole way, `tlkit new-plugin` writes a package, `tlkit check` tells whether a plugin does what is
asked.

"""


def page() -> str:
    """Return the page as Markdown."""
    return _INTRODUCTION + "\n".join(_section(kind, hook) for kind, hook in HOOK_BY_KIND.items())


def _section(kind: str, hook: str) -> str:
    function = getattr(hookspecs, hook)
    base = KINDS[kind]
    methods = [
        f"- `{name}{_signature(base, name)}`: {_first_line(getattr(base, name))}"
        for name in sorted(getattr(base, "__abstractmethods__", ()))
    ]
    asked = "\n".join(methods) if methods else "- nothing: every method has a default"
    return f"""## {hook}

```text
{hook}{inspect.signature(function)}
```

{inspect.getdoc(function)} {_first_line(base)}

A {kind} must define:

{asked}

The base class is [`tlkit.{base.__name__}`](python.md#tlkit.{base.__name__}).

```python
from tlkit import hookimpl


@hookimpl
def {hook}(register):
    from my_package.my_{kind} import My{kind.title()}

    register(My{kind.title()})
```
"""


def _signature(base: type, name: str) -> str:
    return str(inspect.signature(getattr(base, name))).replace("'", "")


def _first_line(item: object) -> str:
    return textwrap.dedent(inspect.getdoc(item) or "").split("\n\n")[0].replace("\n", " ")
