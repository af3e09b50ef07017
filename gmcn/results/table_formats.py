"""A table as Markdown, HTML and TeX for reading, and as CSV for machines."""

from __future__ import annotations

import csv
import html
import io

from gmcn.results.metrics import COLUMNS, Column, Value
from gmcn.results.table import Cell, Row, Table

CSV_COLUMNS = (
    *("table", "row", "metric", "unit", "paper", "ours", "std", "difference", "seeds"),
    *("minutes", "gib", "device", "result", "command"),
)
STYLE = (
    "body { font: 15px sans-serif; margin: 2em } table { border-collapse: collapse } "
    "th, td { border-bottom: 1px solid #ccc; padding: 0.4em 1em; text-align: right } "
    "th:first-child, td:first-child { text-align: left }"
)
TEX = {"\\": r"\textbackslash{}", "→": r"$\rightarrow$", "±": r"$\pm$", "−": r"$-$", "–": "--"}
TEX |= {character: f"\\{character}" for character in "&%$#_{}"}
TEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def markdown(table: Table) -> str:
    """For reading."""
    headings, lines = _text(table)
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in [headings, *lines]]
    rule = f"|{' --- |' * len(headings)}"
    text = [f"# {table.title}", "", *(f"| {' | '.join(line)} |" for line in escaped)]
    text.insert(3, rule)
    text += ["", table.how_to_read, *(f"\n{note}" for note in table.notes)]
    return "\n".join(text) + "\n"


def page(table: Table) -> str:
    """An HTML page for the report, which shows no Markdown."""
    headings, lines = _text(table)
    rows = [_tagged("th", headings), *(_tagged("td", line) for line in lines)]
    notes = [table.how_to_read, *table.notes]
    title = html.escape(table.title)
    text = [
        f"<!DOCTYPE html><html lang=en><meta charset=utf-8><title>{title}</title><style>{STYLE}</style>",
        f"<h1>{title}</h1>",
        f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>",
        *(f"<p>{html.escape(note)}</p>" for note in notes),
    ]
    return "\n".join(text) + "\n"


def _tagged(tag: str, cells: list[str]) -> str:
    return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)


def tex(table: Table) -> str:
    """A ``table`` environment that needs no package."""
    headings, lines = _text(table)
    rows = [" & ".join(map(_escaped, line)) + r" \\" for line in [headings, *lines]]
    notes = " ".join([table.how_to_read, *table.notes])
    text = [
        r"\begin{table}",
        rf"\caption{{{_escaped(table.title)}. {_escaped(notes)}}}",
        rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(headings) - 1)}}}",
        r"\hline",
        rows[0],
        r"\hline",
        *rows[1:],
        r"\hline",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(text) + "\n"


def csv_text(table: Table) -> str:
    """A line per cell, with all digits. ``std`` is what ± is for reading: in tables of folds, standard errors."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in table.rows:
        for name, cell in row.cells.items():
            writer.writerow(
                {
                    "table": table.name,
                    "row": row.label,
                    "metric": name,
                    "unit": table.columns[name].title,
                    "paper": cell.paper,
                    "ours": cell.ours if cell.text is None else cell.text,
                    "std": cell.std,
                    "difference": cell.difference,
                    "seeds": row.seeds,
                    "minutes": row.minutes[0],
                    "gib": row.gib[0],
                    "device": row.device,
                    "result": row.result,
                    "command": row.command,
                }
            )
    return text.getvalue()


def _text(table: Table) -> tuple[list[str], list[list[str]]]:
    """Headings and cells: label, columns, then what every row says about its result, as far as any has it."""
    headings = ["", *(column.title for column in table.columns.values())]
    lines = [
        [row.label, *(_cell(column, row.cells[name]) for name, column in table.columns.items())] for row in table.rows
    ]
    after = {
        "training (min)": [_value(COLUMNS["minutes"], row.minutes) for row in table.rows],
        "peak memory (GiB)": [_value(COLUMNS["gib"], row.gib) for row in table.rows],
        "device": [row.device or "" for row in table.rows],
        "result, or what makes it": [_source(row) for row in table.rows],
    }
    for heading, values in after.items():
        if heading not in headings and any(values):
            headings.append(heading)
            lines = [[*line, cell] for line, cell in zip(lines, values, strict=True)]
    return headings, lines


def _source(row: Row) -> str:
    if row.command is not None:
        return f"`{row.command}`"
    seeds = f" ({row.seeds} seeds)" if row.seeds and row.seeds > 1 else ""
    return f"{row.result}{seeds}" if row.result else ""


def _cell(column: Column, cell: Cell) -> str:
    ours = _value(column, (cell.ours, cell.std)) if cell.text is None else cell.text
    if cell.paper is None:
        return ours
    paper = cell.paper if isinstance(cell.paper, str) else f"{cell.paper:,}"  # with the digits that are printed there
    if cell.difference is None:
        return f"{ours} ({paper})".strip()
    difference = round(cell.difference, column.digits)
    sign = "−" if difference < 0 else "+"
    return f"{ours} ({paper}, {sign}{_number(column, abs(difference))})"


def _value(column: Column, value: Value) -> str:
    mean, deviation = value
    if mean is None:
        return ""
    return _number(column, mean) + ("" if deviation is None else f" ± {_number(column, deviation)}")


def _number(column: Column, value: float) -> str:
    return f"{value:,.{column.digits}f}"


def _escaped(text: str) -> str:
    return "".join(TEX.get(character, character) for character in text.replace("`", ""))
