"""Alembic's entry: run the revisions on the connection that `sandbox.store.migrate` hands over, in its transaction."""

from __future__ import annotations

from alembic import context

from sandbox.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
