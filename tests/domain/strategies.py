"""Hypothesis strategies for records, made from their annotations."""

from __future__ import annotations

import types
from collections.abc import Callable
from enum import Enum
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

R = TypeVar("R", bound=msgspec.Struct)

# The numbers every JSON implementation keeps exactly.
integers = st.integers(-(2**53), 2**53)
texts = st.text(max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | integers | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)

_PLAIN: dict[object, st.SearchStrategy[Any]] = {
    str: texts,
    int: integers,
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    types.NoneType: st.none(),
    Any: json_values,
}


def records(kind: type[R]) -> st.SearchStrategy[R]:
    """Values of the record `kind`, all fields set at random."""
    hints = get_type_hints(kind)
    fields = {name: _of(hints[name]) for name in kind.__struct_fields__}
    return st.builds(kind, **fields)


def _of(annotation: Any) -> st.SearchStrategy[Any]:
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return st.one_of([_of(arg) for arg in args])
    if origin is Literal:
        return st.sampled_from(args)
    if origin is not None:
        return _CONTAINERS[origin](args)
    if issubclass(annotation, Enum):
        return st.sampled_from(annotation)
    return st.deferred(lambda: records(annotation))


def _list(args: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    return st.lists(_of(args[0]), max_size=2)


def _tuple(args: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    if args[1:] == (...,):
        return _list(args).map(tuple)
    return st.tuples(*map(_of, args))


def _dict(args: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    return st.dictionaries(_of(args[0]), _of(args[1]), max_size=2)


_CONTAINERS: dict[Any, Callable[[tuple[Any, ...]], st.SearchStrategy[Any]]] = {
    list: _list,
    tuple: _tuple,
    dict: _dict,
}
