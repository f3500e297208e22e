"""A NIC on a user-mode network (libslirp inside QEMU): works without root and without a bridge.

Choices
-------
``ipv6: false``   Few hosts have it everywhere; a guest that is offered IPv6 waits for it in vain first.
``restrict``      Left off: the guest may go out. It then also reaches services on the host's loopback by the
                  address 10.0.x.2, which QEMU 7.2 cannot forbid; `host.fence` does, by QEMU's user.
``dns``           libslirp's own forwarder, which follows the host's resolv.conf.
``hostname``      Given over DHCP, so that images without cloud-init have a name too.
``net``           A subnet for each NIC: two of them on one subnet would confuse the guest's routes.
``hostfwd``       Never here: ports are forwarded afterwards (`hotplug.forward_add`), the same way as on a
                  machine that runs, so that a port in use is an error of its own and not a QEMU that never starts.
"""

from __future__ import annotations

from guesthouse.qemu.devices.device import Mapping, OnPort


class NicDevice(OnPort, frozen=True, kw_only=True):
    """A network card, known by its MAC address."""

    mac: str

    @property
    def netdev(self) -> str:
        """The id of its other end."""
        return f"net-{self.id}"

    def settings(self) -> Mapping:
        # Without an option ROM: machines start from disks, and looking for a boot server takes seconds.
        return {"netdev": self.netdev, "mac": self.mac, "romfile": ""}

    def backend(self, hostname: str) -> Mapping:
        """The user-mode network behind it: the JSON of ``-netdev`` and the arguments of ``netdev_add`` alike."""
        return {
            "type": "user",
            "id": self.netdev,
            "net": f"10.0.{2 + self.seat}.0/24",
            "ipv6": False,
            "hostname": hostname,
        }
