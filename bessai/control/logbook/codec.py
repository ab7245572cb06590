"""Frozen dataclasses to JSON and back, exactly: what is read is what was recorded.

It follows the type hints, so a new field of the control step needs no change here. Pydantic is
not used on purpose: it makes a float of an int in a float field, and the sentences that are made
of such a number would read differently in a replay.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from hashlib import blake2b
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Final,
    Literal,
    NewType,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from bessai.errors import ProtocolError
from bessai.model import Schedule

if TYPE_CHECKING:
    from _typeshed import DataclassInstance as Dataclass

T = TypeVar("T")
Convert = Callable[[object], object]
Form = tuple[Convert | None, Convert | None]
"""How a type is encoded and decoded; None where JSON holds it as it is."""

PLAIN: Final = frozenset({float, int, str, bool, NoneType})
AS_IT_IS: Final[Form] = (None, None)
PART: Final = "$part"
KIND: Final = "$kind"
SHARED: Final[tuple[type, ...]] = (Schedule,)
"""Values that are large and stay the same for many cycles: stored once, then referred to."""


def to_text(tree: object) -> str:
    """Compact JSON; floats as their shortest exact digits, NaN and infinities by name."""
    return json.dumps(tree, separators=(",", ":"), ensure_ascii=False)


def digest(text: str) -> bytes:
    """Eight bytes that tell texts apart."""
    return blake2b(text.encode(), digest_size=8).digest()


class Codec:
    """Encodes and decodes values of known dataclasses; for one thread.

    Attributes:
        parts: JSON of the shared values that were encoded since :meth:`forget`, by reference.
    """

    def __init__(self) -> None:
        self.parts: dict[str, str] = {}
        self._forms: dict[object, Form] = {}
        self._names: dict[str, dict[str, str]] = {}
        self._newest: dict[type, tuple[object, object]] = {}
        self._known: dict[str, object] = {}

    def encode(self, value: object) -> object:
        """The tree of a dataclass; never changed afterwards, the next one may share it.

        Raises:
            TypeError: a field of the class cannot be recorded.
        """
        encode, _ = self._form(type(value))
        return value if encode is None else encode(value)

    def decode(self, kind: type[T], tree: object) -> T:
        """The value of a tree; unknown fields are left out, missing ones take their default.

        Raises:
            ProtocolError: it is not a tree of this class.
        """
        _, decode = self._form(kind)
        try:
            return cast("T", tree if decode is None else decode(tree))
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise ProtocolError(
                f"is not a recorded {kind.__name__} of this version ({error})",
                fix="read it with the version that recorded it",
            ) from error

    def encode_kept(self, value: object) -> tuple[dict[str, object], list[str]]:
        """The fields of a dataclass that can be recorded, and names of others that are not None.

        Functions and services are left out.
        """
        kept, tree, left_out = self._kept(type(value)), {}, []
        for field in fields(cast("Dataclass", value)):
            found = getattr(value, field.name)
            if field.name in kept:
                encode, _ = kept[field.name]
                tree[field.name] = found if encode is None else encode(found)
            elif found is not None:
                left_out.append(field.name)
        return tree, left_out

    def decode_kept(self, kind: type, tree: Mapping[str, object]) -> dict[str, object]:
        """The recorded fields of a dataclass by name."""
        kept = {name: form for name, form in self._kept(kind).items() if name in tree}
        return {n: tree[n] if d is None else d(tree[n]) for n, (_, d) in kept.items()}

    def forget(self) -> None:
        """Drop what was shared, so that it is handed out again."""
        self.parts.clear()
        self._newest.clear()

    def learn(self, reference: str, kind: type, text: str) -> None:
        """Make a shared value known before trees that refer to it are decoded."""
        if reference not in self._known:
            self._known[reference] = self._whole(kind)[1](json.loads(text))

    def layout(self, *kinds: type) -> dict[str, dict[str, str]]:
        """Names and types of all fields that these classes are made of."""
        for kind in kinds:
            self._kept(kind)
            hints = get_type_hints(kind)
            self._names[kind.__name__] = {f.name: str(hints[f.name]) for f in fields(kind)}
        return dict(self._names)

    def _form(self, kind: object) -> Form:
        found = self._forms.get(kind)
        if found is None:
            found = self._forms[kind] = self._make(kind)
        return found

    def _make(self, kind: object) -> Form:
        if kind in PLAIN or get_origin(kind) is Literal:
            return AS_IT_IS
        if isinstance(kind, NewType):
            return self._form(kind.__supertype__)
        if isinstance(kind, type) and not get_args(kind):
            return self._of_class(kind)
        return self._of_generic(kind)

    def _of_class(self, kind: type) -> Form:
        if is_dataclass(kind):
            return self._shared(kind) if kind in SHARED else self._whole(kind)
        if issubclass(kind, Enum):
            return (lambda value: cast("Enum", value).value), kind
        if issubclass(kind, datetime):
            return (
                lambda value: cast("datetime", value).isoformat(),
                lambda tree: datetime.fromisoformat(cast("str", tree)),
            )
        raise TypeError(f"{kind.__qualname__} cannot be recorded")

    def _of_generic(self, kind: object) -> Form:
        origin, args = get_origin(kind), get_args(kind)
        if origin in (Union, UnionType):
            return self._union(args)
        if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
            return self._items(self._form(args[0]), tuple)
        if origin is tuple:
            return self._fixed([self._form(arg) for arg in args])
        if origin is frozenset:
            return (lambda value: sorted(cast("frozenset[str]", value))), _made(frozenset)
        raise TypeError(f"{kind} cannot be recorded")

    def _whole(self, kind: type) -> tuple[Convert, Convert]:
        hints = get_type_hints(kind)
        names = [field.name for field in fields(kind)]
        self._names[kind.__name__] = {name: str(hints[name]) for name in names}
        forms = [(name, *self._form(hints[name])) for name in names]
        newest = self._newest

        def encode(value: object) -> object:
            before = newest.get(kind)
            if before is not None and before[0] is value:
                return before[1]
            tree = {n: (e(v) if e else v) for n, e, _ in forms for v in (getattr(value, n),)}
            newest[kind] = (value, tree)
            return tree

        def decode(tree: object) -> object:
            known = cast("dict[str, object]", tree)
            return kind(**{n: (d(known[n]) if d else known[n]) for n, _, d in forms if n in known})

        return encode, decode

    def _shared(self, kind: type) -> Form:
        whole, _ = self._whole(kind)
        newest: list[tuple[object, str]] = []

        def encode(value: object) -> object:
            if not (newest and newest[0][0] is value and newest[0][1] in self.parts):
                text = to_text(whole(value))
                reference = digest(text).hex()
                self.parts[reference] = text
                newest[:] = [(value, reference)]
            return {PART: newest[0][1]}

        return encode, lambda tree: self._known[cast("dict[str, str]", tree)[PART]]

    def _union(self, args: tuple[object, ...]) -> Form:
        kinds = [arg for arg in args if arg is not NoneType]
        forms = {kind: self._form(kind) for kind in kinds}
        if all(form == AS_IT_IS for form in forms.values()):
            return AS_IT_IS
        if len(kinds) == 1:
            encode, decode = forms[kinds[0]]
            return _or_none(encode), _or_none(decode)
        if not all(isinstance(kind, type) and is_dataclass(kind) for kind in kinds):
            raise TypeError(f"a union of {kinds} cannot be recorded")
        return self._tagged({cast("type", kind): form for kind, form in forms.items()})

    @staticmethod
    def _tagged(forms: Mapping[type, Form]) -> Form:
        by_name = {kind.__name__: decode for kind, (_, decode) in forms.items()}

        def encode(value: object) -> object:
            if value is None:
                return None
            plain = cast("Convert", forms[type(value)][0])(value)
            return {KIND: type(value).__name__, **cast("dict[str, object]", plain)}

        def decode(tree: object) -> object:
            if tree is None:
                return None
            return cast("Convert", by_name[cast("dict[str, str]", tree)[KIND]])(tree)

        return encode, decode

    @staticmethod
    def _items(form: Form, made_of: type) -> Form:
        encode, decode = form
        return (
            None if encode is None else (lambda value: [encode(v) for v in _iterable(value)]),
            _made(made_of)
            if decode is None
            else (lambda tree: made_of(decode(item) for item in _iterable(tree))),
        )

    @staticmethod
    def _fixed(forms: list[Form]) -> Form:
        def encode(value: object) -> object:
            return [
                v if e is None else e(v) for (e, _), v in zip(forms, _iterable(value), strict=True)
            ]

        def decode(tree: object) -> object:
            both = zip(forms, _iterable(tree), strict=True)
            return tuple(item if d is None else d(item) for (_, d), item in both)

        return encode, decode

    def _kept(self, kind: type) -> dict[str, Form]:
        kept: dict[str, Form] = {}
        hints = get_type_hints(kind)
        for field in fields(kind):
            try:
                kept[field.name] = self._form(hints[field.name])
            except TypeError:
                continue  # e.g. a local policy: a replay builds it from the site's configuration
        return kept


def _iterable(value: object) -> list[object]:
    return cast("list[object]", value)


def _made(kind: Callable[[list[object]], object]) -> Convert:
    return lambda tree: kind(_iterable(tree))


def _or_none(convert: Convert | None) -> Convert | None:
    if convert is None:
        return None
    return lambda value: None if value is None else convert(value)
