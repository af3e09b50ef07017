"""Docstrings as the site shows them: signatures as they are written, with shapes; references as links."""

from __future__ import annotations

import ast
import re
import textwrap
from typing import Any

import griffe


class WithShapes(griffe.Extension):
    """Shapes stand in comments beside the arguments, which a signature that is put together anew would lose."""

    def on_function_instance(self, *, node: ast.FunctionDef, func: griffe.Function, **_: Any) -> None:
        _show(func, node.lineno, node.body[0].lineno)

    def on_class_members(self, *, node: ast.ClassDef, cls: griffe.Class, **_: Any) -> None:
        _show(cls, node.lineno, node.body[0].lineno)


def _show(thing: griffe.Object, first: int, after: int) -> None:
    """Puts the source's lines from ``first`` up to ``after`` before the docstring."""
    lines = thing.lines_collection[thing.filepath][first - 1 : after - 1]
    code = textwrap.dedent("\n".join(lines)).rstrip()
    text = thing.docstring.value if thing.docstring else ""
    text = re.sub(r":\w+:`~?([\w.]+)`", r'<autoref identifier="\1" optional><code>\1</code></autoref>', text)
    thing.docstring = griffe.Docstring(f"```python\n{code}\n```\n\n{text}", parent=thing)
