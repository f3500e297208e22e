"""Commands that are no plain request: one function a row, imported when it runs."""
