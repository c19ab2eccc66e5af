"""Revisions of the tables, run by `sandbox.store.migrate`."""
