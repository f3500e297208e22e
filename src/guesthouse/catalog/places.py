"""Where machines are, in the words of clouds: a house on one box is one zone of one region.

A zone is its region and a letter: programs that know no better cut that off.
"""

from __future__ import annotations

REGION = "local-1"
ZONE = "local-1a"
ZONE_ID = "loc1-az1"
