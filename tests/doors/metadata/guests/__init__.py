"""Programs of guests, run inside a guest's namespace: each prints as JSON what it found out."""
