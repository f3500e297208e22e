"""The Debian image's inside: `base/` is laid out as in the guest, `tunings/` has a folder a tuning, `initrd/` boots."""
