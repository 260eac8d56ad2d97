"""What is wrong with a text that is no TOML: the line, and what to write instead."""

from __future__ import annotations

import json
import re
import tomllib

from tlkit.text import printable

_LONGEST = 100
_HEADER = re.compile(r"\s*(\[{1,2})\s*([^\[\]]+?)\s*\]{1,2}\s*(?:#.*)?$")
_ASSIGNMENT = re.compile(r"\s*\"?([\w.-]+)\"?\s*(==?|:)\s*(.*?)\s*$")
_YAML = re.compile(r"\s*(?:- )?[\w.-]+:(?:\s.*)?$|\s*- .*$")
_STRAIGHT = str.maketrans("\u201c\u201d\u201e\u2018\u2019\u201a", "\"\"\"'''")
_IN_TOML = (
    'A config is TOML, such as\n[dataset]\nname = "digits"\n[head]\nname = "dense"\nunits = 64'
)


def explain_toml_error(text: str, error: Exception) -> str:
    """Return what the parser says, the line that it means, and where there is one, the cure.

    Args:
        text: A whole file.
        error: What ``tomllib.loads`` raised for it.
    """
    said = f"{error}."
    language = _other_language(text)
    if language:
        return f"it is {language}. {_IN_TOML}"
    lines = text.rstrip().split("\n")
    found = re.search(r"at line (\d+)", str(error))
    number = int(found[1]) if found is not None else len(lines)
    twice = "twice" in said or "overwrite" in said
    nowhere = found is None and not twice and "end of document" not in said
    if nowhere or number > len(lines):
        return said
    line = lines[number - 1].strip()
    hint = _set_twice(lines, number) if twice else _correction(line)
    shown = f"Line {number}: {printable(line, _LONGEST)}"
    return "\n".join(part for part in (said, shown, hint) if part)


def _other_language(text: str) -> str:
    """Return the name of the language that a text is written in, or nothing."""
    try:
        if isinstance(json.loads(text), dict | list):
            return "JSON"
    except (ValueError, RecursionError):
        pass
    written = [line for line in text.splitlines() if line.strip() and line.lstrip()[0] != "#"]
    in_yaml = [line for line in written if _YAML.match(line) or line.strip() == "---"]
    return "YAML" if len(in_yaml) == len(written) > 0 else ""


def _set_twice(lines: list[str], number: int) -> str:
    """Return where a table or key was set before."""
    header = _HEADER.match(lines[number - 1])
    if header is not None:
        brackets, name = header.groups()
        for earlier, line in enumerate(lines[: number - 1], 1):
            before = _HEADER.match(line)
            if before is not None and before[2] == name:
                if before[1] != brackets:
                    return f"Line {earlier} writes [{name}], with other brackets: use [[{name}]]."
                return f"The table [{name}] stands in line {earlier} already: make them one."
            key = _ASSIGNMENT.match(line)
            if key is not None and key[1].partition(".")[0] == name:
                whole = f"the whole table [{name}]"
                return f"Line {earlier} sets '{name}' already: delete that line, or {whole}."
        return f"The table [{name}] was set before: make them one."
    key = _ASSIGNMENT.match(lines[number - 1])
    if key is None:
        return ""
    for earlier in range(number - 1, 0, -1):
        if _HEADER.match(lines[earlier - 1]):
            break
        before = _ASSIGNMENT.match(lines[earlier - 1])
        if before is not None and before[1] == key[1]:
            return f"Line {earlier} sets '{key[1]}' already: delete one of them."
    return f"The key '{key[1]}' was set before: delete one of them."


def _correction(line: str) -> str:
    """Return how to write a line so that it can be read; nothing where no such way is known."""
    return _correction_of_line(line) or _correction_of_value(line)


def _correction_of_line(line: str) -> str:
    """Return how to write a line that has no key and value, or several."""
    if _HEADER.match(line + "]"):
        return f"The bracket is not closed: {line}]"
    if header := re.fullmatch(r"([\w.-]+)\s*:", line):
        return f"A table is written in brackets: [{header[1]}]"
    if re.fullmatch(r"[\w.-]+\]", line):
        return f"The bracket is not opened: [{line}"
    if line.startswith(("//", "/*", "--", ";")):
        return "A comment begins with #."
    if several := re.fullmatch(r"([\w.-]+\s*=\s*[^,=]+),\s*[\w.-]+\s*=.*", line):
        return f"Each key stands on a line of its own: {several[1]}"
    if bare := re.fullmatch(r"([\w.-]+) ([\d.]+|true|false|\".*\")", line):
        return f"Write: {bare[1]} = {bare[2]}"
    if spaced := re.match(r"(\w+(?: \w+)+)\s*=", line):
        return f"A key has no spaces: {spaced[1].replace(' ', '_')} ="
    return ""


def _correction_of_value(line: str) -> str:
    """Return how to write the value of a key."""
    assignment = _ASSIGNMENT.match(line)
    if assignment is None or len(line) > _LONGEST:
        return ""
    key, _, value = assignment.groups()
    if value.rstrip(",;") in ("null", "None", "nil"):
        return f"TOML has no {value.rstrip(',;')}: leave the key {key} out."
    if not value:
        return f'The value is missing, as in {key} = 3 or {key} = "text".'
    for given in dict.fromkeys((value, value.rstrip(",; "))):
        for reason, better in _trials(given).items():
            whole = f"{key} = {better}"
            if better and whole != line and _is_toml(whole):
                return f"{reason}: {whole}"
    return ""


def _trials(value: str) -> dict[str, str]:
    """Return what a value may have meant, each with what was wrong; nothing where it is not so."""
    return {
        "Write": value,
        "It is written in small letters": value.lower() if value in ("True", "False") else "",
        "A number begins with a digit": re.sub(r"^(-?)\.", r"\g<1>0.", value),
        "Quotes are straight": value.translate(_STRAIGHT),
        "The quote is not closed": value + value[0] if value[:1] in ("'", '"') else "",
        "A comment begins with #": re.sub(r"\s*//.*$", "", value),
        "A number begins with no 0": re.sub(r"^(-?)0+(?=\d)", r"\1", value),
        "Decimals take a point": re.sub(r"^(-?\d+),(\d+)$", r"\1.\2", value),
        "Backslashes want single quotes": f"'{value[1:-1]}'" if "\\" in value else "",
        "Text stands in quotes": f'"{value}"'
        if re.fullmatch(r"[a-zA-Z_./~][\w./~ -]*", value)
        else "",
    }


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True
