"""What ``edgecell inspect`` found, as tables. All texts come from somebody's file."""

from __future__ import annotations

from typing import Any

from edgecell.cli.terminal import print_line, print_table

_FEW = 12


def inspected(found: dict[str, Any], layers: bool) -> None:
    """Tables of ports, operators and constants, then what the file says of itself."""
    print_line(
        f"{plain(found['file'])}: {found['size_bytes']:,} bytes, {found['quantization']},"
        f" sha256 {found['sha256'][:16]}…"
    )
    for line in _root(found):
        print_line(f"  {line}")
    ports = [
        [kind, *_port(port)]
        for kind, key in (("input", "inputs"), ("output", "outputs"))
        for port in found[key]
    ]
    columns = ["", "name", "type", "shape", "scale", "zero point"]
    print_table("inputs and outputs", columns, ports, numeric_from=4)
    rows = [
        [
            plain(op["name"]),
            f"{op['count']:,}",
            f"{op['constants']:,}",
            f"{op['constant_bytes']:,}",
            f"{op['macs']:,}",
        ]
        for op in found["operators"]
    ]
    columns = ["operator", "count", "constants", "bytes", "multiply-accumulates"]
    print_table(f"{sum(op['count'] for op in found['operators'])} operators", columns, rows)
    rows = [
        [kind["dtype"], f"{kind['tensors']:,}", f"{kind['bytes']:,}", *_how(kind)]
        for kind in found["weights"]
    ]
    print_table("constants", ["type", "tensors", "bytes", "per channel", "sparse"], rows)
    activations = ", ".join(f"{count} {dtype}" for dtype, count in found["activations"].items())
    print_line(f"tensors that are computed: {activations or 'none'}")
    if layers:
        _layers(found["layers"])
    _metadata(found)


def plain(text: str) -> str:
    """A text of a file without what moves a terminal's cursor."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _root(found: dict[str, Any]) -> list[str]:
    lines = []
    if found["description"]:
        lines.append(f"description: {plain(found['description'])}")
    if found["min_runtime_version"]:
        lines.append(f"needs a runtime from version {plain(found['min_runtime_version'])} on")
    if found["graphs"] != 1:
        lines.append(f"{found['graphs']} graphs; what follows is the first")
    if found["entries"]:
        lines.append(f"entries: {', '.join(plain(name) for name in found['entries'])}")
    return lines


def _port(port: dict[str, Any]) -> list[str]:
    return [
        plain(port["name"]),
        port["dtype"],
        " × ".join(map(str, port["shape"])) or "scalar",
        _numbers(port["scales"]),
        _numbers(port["zero_points"]),
    ]


def _numbers(values: list[Any]) -> str:
    if len(values) > 1:
        return f"{len(values)} values"
    return "".join(f"{value:.9g}" if isinstance(value, float) else str(value) for value in values)


def _how(kind: dict[str, Any]) -> list[str]:
    return [f"{kind[key]:,}" if kind[key] else "" for key in ("per_channel", "sparse")]


def _layers(layers: list[dict[str, Any]]) -> None:
    rows = [
        [
            str(number),
            plain(layer["operator"]),
            layer["dtype"],
            " × ".join(map(str, layer["shape"])),
            "" if layer["scale"] is None else _numbers([layer["scale"]]),
            "" if layer["zero_point"] is None else str(layer["zero_point"]),
            f"{layer['constant_bytes']:,}",
            f"{layer['macs']:,}",
        ]
        for number, layer in enumerate(layers)
    ]
    columns = ["", "operator", "type", "shape", "scale", "zero point", "constant bytes", "MACs"]
    print_table("layers, each with what it writes", columns, rows, numeric_from=4)


def _metadata(found: dict[str, Any]) -> None:
    metadata = found["metadata"]
    if metadata is None:
        print_line("TFLite metadata: none")
        return
    print_line("TFLite metadata:")
    for key in ("name", "description", "version", "author", "license", "min_parser_version"):
        if metadata.get(key):
            print_line(f"  {key.replace('_', ' ')}: {plain(metadata[key])}")
    for graph in metadata.get("subgraph_metadata", []):
        for kind in ("input", "output"):
            for tensor in graph.get(f"{kind}_tensor_metadata", []):
                print_line(f"  {kind} {plain(tensor.get('name', '(no name)'))}:{_said(tensor)}")
    for name, file in found["associated_files"].items():
        print_line(f"  file {plain(name)}: {file['bytes']:,} bytes, {file['type']}")
    for tensor, labels in found["labels"].items():
        shown = ", ".join(plain(label) for label in labels[:_FEW])
        rest = f", … ({len(labels)} in all)" if len(labels) > _FEW else ""
        print_line(f"  labels of {plain(tensor)}: {shown}{rest}")


def _said(tensor: dict[str, Any]) -> str:
    parts = [plain(tensor.get("description", ""))] if tensor.get("description") else []
    content = tensor.get("content", {}).get("content_properties", {})
    parts += [
        f"{key.replace('_', ' ')} {value}" for key, value in content.items() if key != "table"
    ]
    for unit in tensor.get("process_units", []):
        options = dict(unit.get("options", {}))
        kind = options.pop("table", "process unit")
        parts.append(f"{kind} {', '.join(f'{key} {value}' for key, value in options.items())}")
    return " " + plain("; ".join(parts))
