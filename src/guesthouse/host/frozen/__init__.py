"""Frozen machines: booted once to their gate and put away, for others to be forked from.

Rules
-----
1. A template is a folder `templates/ID`: `memory` and `state` of the frozen machine, `root.qcow2` where its image has a
   disk, and `template.json`, which says for what it fits. It is there whole or not at all.
2. Forks share its memory copy on write. They get it as a sealed memory file (memfd_create(2), F_ADD_SEALS), which no
   QEMU can write to, whatever its guest has done to it.
3. It was frozen before it had any identity, any network, any data of a tenant.
4. A QEMU of another version, another accelerator or another processor takes no state from it: the machine boots.
"""
