"""Configures the micro image at boot: a small cloud-init.

Debian's MicroPython is not in every release, and a YAML parser of our own would differ from the one that
user-data is written for. So the guest carries Debian's own small CPython and its PyYAML, and this package is
plain Python: tested where it is written, run unchanged in the guest.

Rules
-----
1. Only what CPython's minimal package brings is imported, and little of it: on an emulated processor each
   import is felt. No dataclasses, typing, pathlib or subprocess here; what few boots need is imported late.
2. A key that is not understood is a failure that names it; one that has no meaning here is listed as ignored.
   Nothing is dropped silently.
3. A module that fails does not stop the next ones; the outcome lists all failures.
4. The root is memory, so every boot is a first boot: all modules run each time.
"""
