"""Snapshots: what is put away of a machine so that it can go on from there.

Rules
-----
1. A snapshot is a folder `snapshots/ID`: `snapshot.json`, `state` (memory and devices, QEMU's migration stream) where
   it has memory, `efivars.fd` where the machine has such variables. It is there whole or not at all. Settled, it has
   `memory` and `devices` in place of `state`; `snapshot.json` says which of the two holds (`machines.settling`).
2. Its files are the daemon's alone. QEMU writes and reads them by descriptors that it is given, and its guest's memory
   is never the file itself, but a sealed copy of it (`frozen.pool`).
3. Disks are not in it: they lie in layers (`host.disks`), of which the record says which are the snapshot's.
4. Only the like of the QEMU and the processor that wrote a state can read it; any other refuses it.
"""
