"""From a machine to QEMU's words: addresses, command line, QMP messages. Nothing here touches a host.

Rules
-----
1. `place` gives every device an id and an address; the result (`Placed`) is kept, so that hot-plug, snapshots
   and migration find the very same device tree. `command` and `hotplug` only render what was placed.
2. A device is described once, in its file of `devices`, as one ordered mapping. At boot it is the JSON of
   ``-device``, later the arguments of ``device_add``: the two cannot differ.
3. Every value that comes from outside (a path, a name, a descriptor) is in `Boot` or in an argument.
4. QEMU 7.2 is the oldest that we speak to; what it can is in `Capabilities`.
"""
