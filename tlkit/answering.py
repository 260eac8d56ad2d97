"""What every command has in common: exit codes, one message for an error, and ``--json``."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ParamSpec, TextIO

import typer

from tlkit.errors import TlkitError
from tlkit.interruption import Interrupted, exit_on_next_interrupt
from tlkit.paths import with_urls
from tlkit.screen import say

if TYPE_CHECKING:
    from tlkit.documents.base import Document

P = ParamSpec("P")
EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
JSON_FLAG = "--json"
JsonOption = Annotated[
    bool, typer.Option(JSON_FLAG, help="Print one JSON document for programs, and nothing else.")
]


@dataclass(frozen=True)
class Continuing:
    """A document, and what the command goes on with when it is printed.

    Attributes:
        document: The document.
        action: What it goes on with; with ``--json`` it prints to standard error, as its error
            would be a second document.
    """

    document: Document
    action: Callable[[], None]


class _Told(int):
    """An exit code whose document is printed already."""


def answers(command: Callable[P, Document | Continuing | None]) -> Callable[P, None]:
    """Turn a function that returns a document into a command.

    It needs a parameter ``json_: JsonOption = False`` and prints for people where that is False.
    With it, the document alone goes to standard output: whatever else is printed goes to standard
    error, and an error becomes a document too. The exit code is that of the error, and 1 where the
    document's status is "failed". A command that goes on after its document returns ``Continuing``.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        as_json = bool(kwargs.get("json_"))
        action = document = None
        with _only_the_document() if as_json else contextlib.nullcontext():
            try:
                found, code = command(*args, **kwargs), 0
                if isinstance(found, Continuing):
                    document, action = found.document, found.action
                else:
                    document = found
                if document is not None and document.status == "failed":
                    code = EXIT_FAILED
            except TlkitError as err:
                # A note says how to go on, on a line of its own.
                message = "\n".join([str(err), *getattr(err, "__notes__", ())])
                document, code = _error(err, message, err.exit_code, as_json), err.exit_code
            except KeyboardInterrupt as err:
                exit_on_next_interrupt()
                code = EXIT_INTERRUPTED
                document = _error(err, str(err) or "Interrupted.", code, as_json)
            except Exception as err:
                if not as_json or isinstance(err, typer.Exit):
                    raise
                traceback.print_exc()
                code = EXIT_FAILED
                document = _error(err, str(err), code, as_json)
        if as_json and document is not None:
            print(document.text(), flush=True)
        if action is not None:
            with _only_the_document() if as_json else contextlib.nullcontext():
                code = _go_on(action)
        if code:
            raise typer.Exit(_Told(code))

    # Typer resolves annotations; resolving this one would load every model for `tlkit --help`.
    command.__annotations__.pop("return", None)
    return wrapped


def call(app: typer.Typer, arguments: list[str] | None) -> None:
    """Run an app and exit; with ``--json`` a wrong command line is told in JSON too."""
    given = sys.argv[1:] if arguments is None else arguments
    if JSON_FLAG not in given:
        app(arguments, obj=given)
        return
    try:
        code = app(arguments, obj=given, standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):  # what older versions of Typer make of Ctrl-C
        code = EXIT_INTERRUPTED
    except Exception as err:
        # Typer brings its own copy of click, older versions of it the package click.
        explain = getattr(err, "format_message", None)
        if explain is None:
            raise
        code = _Told(getattr(err, "exit_code", EXIT_USAGE))
        from tlkit.documents.error import Error

        message = explain() or "No command is given."
        print(Error(type="UsageError", message=message, exit_code=code).text(), flush=True)
    if code == EXIT_INTERRUPTED and not isinstance(code, _Told):
        # Outside a command that answers, such as while its arguments are read.
        document = _error(KeyboardInterrupt(), "Interrupted.", code, as_json=True)
        assert document is not None
        print(document.text(), flush=True)
    sys.exit(code if isinstance(code, int) else 0)


def _go_on(action: Callable[[], None]) -> int:
    try:
        action()
    except TlkitError as err:
        _error(err, str(err), err.exit_code, as_json=False)
        return err.exit_code
    except KeyboardInterrupt as err:
        exit_on_next_interrupt()
        _error(err, str(err) or "Interrupted.", EXIT_INTERRUPTED, as_json=False)
        return EXIT_INTERRUPTED
    return 0


def _error(err: BaseException, message: str, code: int, as_json: bool) -> Document | None:
    message = with_urls(message)
    if not as_json:
        say(message if isinstance(err, KeyboardInterrupt) else f"error: {message}")
        return None
    from tlkit.documents.error import Error

    return Error(
        type=type(err).__name__,
        message=message,
        exit_code=code,
        next_command=with_urls(err.command) if isinstance(err, Interrupted) else None,
    )


@contextlib.contextmanager
def _only_the_document() -> Iterator[None]:
    """Lead what is printed to standard error, that of C libraries and of child processes too."""
    output = sys.stdout
    with contextlib.redirect_stdout(sys.stderr), _descriptor_led_to_stderr(output):
        yield


@contextlib.contextmanager
def _descriptor_led_to_stderr(output: TextIO) -> Iterator[None]:
    try:
        descriptor, target = output.fileno(), sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):  # not a file: captured, or closed
        yield
        return
    output.flush()
    kept = os.dup(descriptor)
    os.dup2(target, descriptor)
    try:
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)
