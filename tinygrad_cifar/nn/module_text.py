"""Modules as text: one line for ``repr``, a table of the nested modules for ``print`` and for notebooks."""

from __future__ import annotations

from html import escape
from typing import Any, NamedTuple, TypeAlias

from tinygrad_cifar.engine.graph import format_shape

Module: TypeAlias = Any  # tinygrad_cifar.nn.Module, whose module imports this one


class Row(NamedTuple):
    """One module in the table: its depth and name, itself, its own tensors with their shapes, and their elements."""

    depth: int
    name: str
    module: str
    tensors: str
    parameters: str


def one_line(module: Module, above: tuple[Module, ...] = ()) -> str:
    """Return a module with its arguments, ``Linear(4, 3)``, or else with its modules, or else with its tensors."""
    arguments = module._arguments()
    if not arguments and not module._nested():
        arguments = ", ".join(f"{name}: {format_shape(tensor.shape)}" for name, tensor in module.named_tensors())
    elif not arguments:
        names = [(name, child) for name, child in module._nested() if not any(child is other for other in above)]
        arguments = ", ".join(f"{name}={one_line(child, (*above, module))}" for name, child in names)
    return f"{type(module).__name__}({arguments})"


def rows(module: Module) -> list[Row]:
    """Return the rows of the table: the module, and each module inside it once."""
    total = sum(p.size for p in module.parameters())
    seen: list[Module] = []

    def visit(current: Module, name: str, depth: int) -> list[Row]:
        is_repeated = any(current is other for other in seen)
        seen.append(current)
        nested = [] if is_repeated else current._nested()
        own = [(n, t) for n, t, _ in current._named_tensors(()) if any(t is c for _, c in current._children())]
        size = sum(t.size for _, t in own if t.requires_grad)
        found = Row(
            depth,
            name,
            type(current).__name__ if nested or not current._arguments() else one_line(current),
            "the same as above" if is_repeated else ", ".join(f"{n} {format_shape(t.shape)}" for n, t in own),
            f"{size:,}" if size and not is_repeated else "",
        )
        return [found, *[row for n, child in nested for row in visit(child, n, depth + 1)]]

    first, *others = visit(module, "", 0)
    plural = "s" * (total != 1)
    return [first._replace(parameters=f"{total:,} parameter{plural}"), *others]


def tree(module: Module) -> str:
    """Return the table as text."""
    first, *others = rows(module)
    lines = [f"{first.module}: {first.parameters}{f' ({first.tensors})' if first.tensors else ''}"]
    cells = [("  " * row.depth + row.name, row.module, row.tensors, row.parameters) for row in others]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for *texts, number in cells:
        text = "  ".join(cell.ljust(width) for cell, width in zip(texts, widths, strict=False))
        lines.append(f"{text}  {number:>{widths[-1]}}".rstrip())
    return "\n".join(lines)


def tree_html(module: Module) -> str:
    """Return the table as HTML, for notebooks."""
    first, *others = rows(module)
    lines = [
        f'<tr><td style="text-align:left;padding-left:{row.depth}em">{escape(row.name)}</td>'
        f'<td style="text-align:left">{escape(row.module)}</td><td style="text-align:left">{escape(row.tensors)}</td>'
        f"<td>{row.parameters}</td></tr>"
        for row in others
    ]
    head = "".join(f'<th style="text-align:left">{title}</th>' for title in ("name", "module", "tensors", "parameters"))
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>" if lines else ""
    tensors = f" ({escape(first.tensors)})" if first.tensors else ""
    return f"<div><p><b>{escape(first.module)}</b>: {first.parameters}{tensors}</p>{table}</div>"
