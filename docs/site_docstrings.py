"""Docstrings as the site shows them: signatures as they are written, with shapes; references as links."""

from __future__ import annotations

import ast
import re
import textwrap
from typing import Any

import griffe

REFERENCE = re.compile(r":\w+:`~?([\w.]+)`")


class WithShapes(griffe.Extension):
    """Shapes stand in comments beside the arguments, which a signature that is put together anew would lose."""

    def on_module_members(self, *, mod: griffe.Module, **_: Any) -> None:
        _show(mod, "")

    def on_class_members(self, *, node: ast.ClassDef, cls: griffe.Class, **_: Any) -> None:
        fields = [_lines(cls, each.lineno, each.end_lineno) for each in node.body if isinstance(each, ast.AnnAssign)]
        _show(cls, "\n".join([_lines(cls, node.lineno, node.body[0].lineno - 1), *fields]))

    def on_function_instance(self, *, node: ast.FunctionDef, func: griffe.Function, **_: Any) -> None:
        _show(func, _lines(func, node.lineno, node.body[0].lineno - 1))


def _lines(thing: griffe.Object, first: int, last: int) -> str:
    """Those lines of the source, without comments about what follows."""
    text = "\n".join(thing.lines_collection[thing.filepath][first - 1 : last])
    return re.sub(r"(\n\s*(#.*)?)+\Z", "", text)


def _show(thing: griffe.Object, code: str) -> None:
    """Puts the code before the docstring, and makes links of the docstring's references."""

    def link(match: re.Match) -> str:
        try:
            path = thing.resolve(match[1])
        except griffe.NameResolutionError:
            path = match[1]
        return f'<autoref identifier="{path}" optional><code>{match[1]}</code></autoref>'

    block = f"```python\n{textwrap.dedent(code)}\n```\n\n" if code else ""
    text = REFERENCE.sub(link, thing.docstring.value) if thing.docstring else ""
    thing.docstring = griffe.Docstring(block + text, parent=thing)
