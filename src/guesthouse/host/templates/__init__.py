"""Making, keeping and removing templates."""
