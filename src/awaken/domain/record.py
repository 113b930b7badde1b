"""The base of all records: a `msgspec.Struct` that is frozen and keyword-only without saying so.

msgspec does not inherit `kw_only`, and type checkers want `frozen` repeated; the metaclass settles
both once. Fields with defaults are left out of the stored form, so adding one needs no migration.
"""

from __future__ import annotations

from typing import Any, dataclass_transform

import msgspec


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(msgspec.field,))
class RecordMeta(msgspec.StructMeta):
    """Makes every record frozen and keyword-only."""

    def __new__(
        mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **config: Any
    ) -> Any:
        settings = {"frozen": True, "kw_only": True, "omit_defaults": True, **config}
        return super().__new__(mcls, name, bases, namespace, **settings)


class Record(msgspec.Struct, metaclass=RecordMeta):
    """A frozen, keyword-only value. Change one with `msgspec.structs.replace`."""
