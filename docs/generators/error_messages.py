"""The page of every error that tlkit raises on purpose, read out of the source."""

from __future__ import annotations

import ast
import inspect
import re
from collections import defaultdict
from pathlib import Path

import tlkit
from tlkit import errors

_INTRODUCTION = """# Errors

Every message that tlkit ends with on purpose, by class. A message says what was received, what is
allowed and what to do; `…` stands for what differs from case to case. Paste a part of yours into
the search of this site. All are `tlkit.TlkitError`; the command line prints them as `error: ...` on
standard error, or as a document with `--json`, and [exits](config.md#exit-codes) with the code that
stands here. Anything else that ends a command is a fault of tlkit, or of a plugin that is then
named.

"""
_PACKAGE = Path(tlkit.__file__).parent


def page() -> str:
    """Return the page as Markdown."""
    messages = _messages()
    parts = [_INTRODUCTION]
    for kind in _classes():
        told = (inspect.getdoc(kind) or "").partition("\n\nAttributes:")[0]
        parts.append(f"## {kind.__name__}\n\nExit code {kind.exit_code}. {_markdown(told)}\n")
        by_module = messages.get(kind.__name__, {})
        for module, found in sorted(by_module.items()):
            parts.append(f"From `{module}`:\n")
            parts += [f"- {_escape(text)}" for text in found]
            parts.append("")
    return "\n".join(parts)


def _classes() -> list[type[errors.TlkitError]]:
    kinds = [item for item in vars(errors).values() if inspect.isclass(item)]
    kinds = [kind for kind in kinds if issubclass(kind, errors.TlkitError)]
    return sorted(kinds, key=lambda kind: (kind is errors.TlkitError, kind.__name__))


def _messages() -> dict[str, dict[str, list[str]]]:
    """Return the messages by class and by module, in the order of the source."""
    names = {kind.__name__ for kind in _classes()}
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(_PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(_PACKAGE.parent).with_suffix("").parts)
        module = module.removesuffix(".__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes = list(ast.walk(tree))
        functions = {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}
        for node in nodes:
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            if node.func.id in names and node.args:
                parts = [_text(node.args[0]), *_texts_of_helpers(node.args[0], functions)]
                known = found[node.func.id][module]
                for text in dict.fromkeys(parts):
                    if len(re.sub(r"[…\W]", "", text)) > 8 and text not in known:
                        known.append(text)
    return found


def _texts_of_helpers(node: ast.expr, functions: dict[str, ast.FunctionDef]) -> list[str]:
    """Return what functions of the same module, called to word a part of a message, return."""
    calls = [part.func for part in ast.walk(node) if isinstance(part, ast.Call)]
    called = [function.id for function in calls if isinstance(function, ast.Name)]
    returned = [
        part.value
        for name in called
        if name in functions
        for part in ast.walk(functions[name])
        if isinstance(part, ast.Return) and isinstance(part.value, ast.JoinedStr | ast.BinOp)
    ]
    return [_text(value) for value in returned]


def _text(node: ast.expr) -> str:
    """Return a message as it stands in the source, with … for what is put in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return re.sub(r"(…\s?)+", lambda some: "… " if some[0][-1] == " " else "…", _joined(node))
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return _text(node.func.value)  # "...".rstrip() and the like
    return "…"


def _joined(node: ast.JoinedStr) -> str:
    return "".join(
        str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
    )


def _markdown(text: str) -> str:
    return text.replace("``", "`")


def _escape(text: str) -> str:
    text = re.sub(r"\s*\n\s*", " ", text.strip())
    text = re.sub(r"…(?=[A-Z])", "… ", re.sub(r"(?<=[.;:,])…", " …", text))
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", text)
