"""A NIC: on a network of the host's by a TAP, or on a user-mode network (libslirp inside QEMU), which needs no root.

Choices for user-mode networks
------------------------------
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
    """A network card, known by its MAC address. `tap`: its other end is a TAP of the host's."""

    mac: str
    tap: bool = False

    @property
    def netdev(self) -> str:
        """The id of its other end."""
        return f"net-{self.id}"

    def settings(self) -> Mapping:
        # Without an option ROM: machines start from disks, and looking for a boot server takes seconds.
        return {"netdev": self.netdev, "mac": self.mac, "romfile": ""}

    def backend(self, hostname: str, tap: str) -> Mapping:
        """What is behind it: the JSON of ``-netdev`` and the arguments of ``netdev_add`` alike.

        `tap` is the descriptor of its TAP, by number or by the name under which QEMU was given it.
        """
        if self.tap:
            return {"type": "tap", "id": self.netdev, "fd": tap}
        return {
            "type": "user",
            "id": self.netdev,
            "net": f"10.0.{2 + self.seat}.0/24",
            "ipv6": False,
            "hostname": hostname,
        }
