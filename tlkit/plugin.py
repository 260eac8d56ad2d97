"""Plugin: what backbones, heads, reporters, datasets and workflows have in common."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, Self


class Plugin:
    """Base of every plugin kind.

    Attributes:
        name: The registered name, lower case with underscores; unique within its kind.
        kind: The kind of plugin, such as ``"backbone"``; set by the abstract base of the kind.
        options: The constructor's arguments, defaults included. They are recorded when the object
            is made, so that a run can be written down and repeated without help from the author.
        modules: What a run with it imports sooner or later, such as ``("matplotlib.figure",)``. The
            Trainer imports them first, so that a missing one ends the run before any work.
        install: What to give to ``pip install`` for them; said where one is missing.
    """

    name: ClassVar[str] = ""
    kind: ClassVar[str] = ""
    modules: ClassVar[tuple[str, ...]] = ()
    install: ClassVar[str] = ""
    options: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Record the constructor's arguments in ``options``."""
        self = super().__new__(cls)
        signature = inspect.signature(cls.__init__)
        try:
            bound = signature.bind(self, *args, **kwargs)
        except TypeError:  # __init__ is about to raise the same, with a better traceback
            self.options = {}
            return self
        bound.apply_defaults()
        self.options = {}
        for key, value in list(bound.arguments.items())[1:]:
            parameter = signature.parameters[key]
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                self.options.update(value)
            elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
                self.options[key] = value
        return self

    @classmethod
    def summary(cls) -> str:
        """Return the first line of the class's docstring, for listings."""
        return (inspect.getdoc(cls) or "").split("\n", 1)[0].strip()

    def idle_options(self) -> tuple[str, ...]:
        """Return the options that change nothing as the others are set; reports leave them out."""
        return ()

    def __repr__(self) -> str:
        """Return the call that makes an equal object."""
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.options.items())
        return f"{type(self).__name__}({arguments})"
