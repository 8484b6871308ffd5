"""A diagram as text that other programs draw: Mermaid, which GitHub shows in Markdown, and DOT, for Graphviz."""

from __future__ import annotations

from tinygrad_cifar.inspection.diagram import Box, Diagram

_MERMAID_SHAPES = {
    "parameter": ("{{", "}}"),
    "data": ("[/", "/]"),
    "operation": ("(", ")"),
    "folded": ("[[", "]]"),
}
_MERMAID_CLASSES = {
    "parameter": "fill:#dbe9ff,stroke:#1d5fbf,color:#1a1a1a",
    "data": "fill:#fff0d2,stroke:#9a6200,color:#1a1a1a",
    "operation": "fill:#ffffff,stroke:#5b6470,color:#1a1a1a",
    "folded": "fill:#ececec,stroke:#5b6470,color:#1a1a1a",
}
_DOT_SHAPES = {
    "parameter": 'shape=hexagon, fillcolor="#dbe9ff", color="#1d5fbf"',
    "data": 'shape=parallelogram, fillcolor="#fff0d2", color="#9a6200"',
    "operation": 'shape=box, style="rounded,filled", fillcolor="#ffffff", color="#5b6470"',
    "folded": 'shape=box3d, fillcolor="#ececec", color="#5b6470"',
}
_MERMAID_ENTITIES = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "`": "#96;"}


def write_mermaid(diagram: Diagram) -> str:
    """Return a diagram as a Mermaid flowchart."""
    lines = ["flowchart TD"]
    lines += [f"  %% {diagram.note}"] if diagram.note else []
    for i, box in enumerate(diagram.boxes):
        left, right = _MERMAID_SHAPES[box.kind]
        text = "<br/>".join("".join(_MERMAID_ENTITIES.get(c, c) for c in line) for line in (box.title, *box.lines))
        lines.append(f'  n{i}{left}"{text}"{right}:::{box.kind}')
    lines += [f"  n{a.source} {'-->' if a.has_gradient else '-.->'} n{a.target}" for a in diagram.arrows]
    kinds = dict.fromkeys(box.kind for box in diagram.boxes)
    lines += [f"  classDef {kind} {_MERMAID_CLASSES[kind]}" for kind in kinds]
    return "\n".join(lines) + "\n"


def write_dot(diagram: Diagram) -> str:
    """Return a diagram in the DOT language."""
    lines = ["digraph {", '  node [style=filled, fontname="monospace", fontsize=10]']
    lines += [f'  label="{_dot_text(diagram.note)}"'] if diagram.note else []
    lines += [f'  n{i} [label="{_dot_label(box)}", {_DOT_SHAPES[box.kind]}]' for i, box in enumerate(diagram.boxes)]
    for arrow in diagram.arrows:
        lines.append(f"  n{arrow.source} -> n{arrow.target}{'' if arrow.has_gradient else ' [style=dashed]'}")
    return "\n".join([*lines, "}"]) + "\n"


def _dot_label(box: Box) -> str:
    return "\\n".join(map(_dot_text, (box.title, *box.lines)))


def _dot_text(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
