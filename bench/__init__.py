"""Benches: what Guesthouse costs beside bare QEMU and libvirt, measured on the box that runs them.

Rules
-----
1. What is compared is measured in one run, in turns, so that a busy box is busy for all of them; medians are told.
2. The product is measured as it ships: `guest serve` and `guest`, over its door. Nothing reaches into it, but for
   filling its store while no daemon runs.
3. A bench is a module with `measure(say) -> Section`; it finds its place by being in this package.
4. Nothing here is a test: a missed target is told in the table and fails nothing.
"""
