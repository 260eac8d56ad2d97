"""Documents: what the commands print with ``--json``; the JSON Schemas are made from them.

One module for each command. The rule of ``docs/reference/json.md``: within a version fields are
only added. What is removed, renamed, retyped or given another meaning makes a new version.
"""
