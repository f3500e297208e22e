"""How long a test waits for what must come: so long that only a hang is ever cut off, on any box and under any load."""

PATIENCE_S = 600.0
