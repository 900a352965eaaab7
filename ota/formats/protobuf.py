"""Recognise an ONNX model by its protobuf fields, without reading what is in them. Pure.

Protobuf has no magic bytes. A model is recognised by its top level: only fields of ``ModelProto`` (onnx.proto), each
with the wire type that the field has, the required ones present, and an end that is the end of the file. The same is
asked of the graph inside.
"""

from typing import BinaryIO

_VARINT, _BYTES = 0, 2
#: field number to wire type of ``ModelProto`` and ``GraphProto``
_MODEL = {1: _VARINT, **dict.fromkeys((2, 3, 4, 6, 7, 8, 14, 20, 25, 26), _BYTES), 5: _VARINT}
_GRAPH = dict.fromkeys((1, 2, 5, 10, 11, 12, 13, 14, 15, 16), _BYTES)
_IR_VERSION, _GRAPH_FIELD, _NODES, _OUTPUTS = 1, 7, 1, 12
_MOST_FIELDS, _LONGEST_VARINT = 2_000_000, 10


def is_onnx(file: BinaryIO, size: int) -> bool:
    """Return whether a file has the structure of an ONNX model.

    Args:
        file: seekable.
        size: of the file, in bytes.
    """
    model = _fields(file, 0, size, _MODEL)
    if model is None or _IR_VERSION not in model or _GRAPH_FIELD not in model:
        return False
    graph = _fields(file, *model[_GRAPH_FIELD], _GRAPH)
    return graph is not None and bool({_NODES, _OUTPUTS} & set(graph))


def _fields(file: BinaryIO, start: int, end: int, known: dict[int, int]) -> dict[int, tuple[int, int]] | None:
    """Return the place of the last value of each field between two offsets; None where it is no such message."""
    fields: dict[int, tuple[int, int]] = {}
    at = start
    for _ in range(_MOST_FIELDS):
        if at == end:
            return fields
        tag, at = _varint(file, at, end)
        number, wire = tag >> 3, tag & 7
        if known.get(number) != wire:
            return None
        value, at = _varint(file, at, end)
        if wire == _BYTES:
            fields[number] = (at, at + value)
            at += value
        else:
            fields[number] = (at, at)
        if at > end:
            return None
    return None


def _varint(file: BinaryIO, at: int, end: int) -> tuple[int, int]:
    """Return a number and where it ends; an end beyond the last byte when there is none."""
    file.seek(at)
    value = 0
    for index, byte in enumerate(file.read(min(_LONGEST_VARINT, max(end - at, 0)))):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:  # noqa: PLR2004  because the highest bit says that more follows
            return value, at + index + 1
    return 0, end + 1
