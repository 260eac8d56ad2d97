"""The recipes that ship with tlkit: their names and texts."""

from __future__ import annotations

from importlib.resources import files

from tlkit.errors import ConfigError, did_you_mean


def recipes() -> dict[str, str]:
    """Return the text of each recipe that ships with tlkit, by name."""
    folder = files("tlkit") / "recipes"
    found = {
        item.name.removesuffix(".toml"): item.read_text(encoding="utf-8")
        for item in folder.iterdir()
        if item.name.endswith(".toml")
    }
    return dict(sorted(found.items()))


def recipe(name: str) -> str:
    """Return the text of one recipe.

    Raises:
        ConfigError: If there is none of that name.
    """
    found = recipes()
    if name not in found:
        own = f" A config of your own? Give its path, such as ./{name}.toml."
        raise ConfigError(
            f"Unknown recipe '{name}'.{did_you_mean(name, found)}\nAvailable: {', '.join(found)}."
            f"{'' if '.' in name or '/' in name else own}"
        )
    return found[name]
