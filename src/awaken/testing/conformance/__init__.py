"""Conformance suites: what every implementation of a port must keep, as functions over one."""

from __future__ import annotations

from awaken.testing.conformance.store import StoreCase, store_conformance

__all__ = ["StoreCase", "store_conformance"]
