"""Everything that knows Luigi's task model."""
