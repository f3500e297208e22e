"""The micro image's inside: `rootfs/` is laid out as in the guest, `firstboot/` configures it."""
