"""Images: built from packages, imported, pulled."""
