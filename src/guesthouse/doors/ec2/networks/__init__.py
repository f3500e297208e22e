"""Networks as VPCs, with all that is on them."""
