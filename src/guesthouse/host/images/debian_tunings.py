"""What makes the Debian image boot faster than Debian's own settings: one row a tuning.

Rules
-----
1. cloud-init's code is never touched, and nothing that user-data can ask for is taken away: a tuning changes when and
   how often something runs, or leaves out what cannot do anything in this image.
2. A tuning with files has them in guestfiles/debian/tunings/NAME, laid out as in the guest.
3. `STOCK` is the image with none of them; `bench/boot_debian.py` measures one against the other.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tuning:
    """A row: its name, why it is there, what it masks and what it adds to the kernel's command line.

    `held_units` are those of a template that wait for its gate, by the target that starts them behind it, if any.
    `micro_files` are modules that the micro image's first boot has too. What is `for_gate` an image of somebody else's
    gets too when it is given a gate.
    """

    name: str
    why: str
    has_files: bool = False
    masked_units: tuple[str, ...] = ()
    masked_generators: tuple[str, ...] = ()
    kernel_arguments: tuple[str, ...] = ()
    held_units: tuple[tuple[str, tuple[str, ...]], ...] = ()
    micro_files: tuple[str, ...] = ()
    for_gate: bool = False


# What does not start in the boot of a template before its gate is passed: whatever makes or tells an identity, needs a
# network, runs by the clock, or has its place in the order by cloud-init's stages. A type stands for all its units.
HELD_FOR_STAGES = (
    "cloud-config.service",
    "cloud-config.target",
    "cloud-final.service",
    "cloud-init-local.service",
    "cloud-init.service",
    "cloud-init.target",
    "guesthouse-configured.service",
    "guesthouse-reachable.service",
    "network-online.target",
    "network-pre.target",
    "network.target",
    "ssh.service",
    "systemd-networkd-wait-online.service",
    "systemd-networkd.service",
    "systemd-networkd.socket",
)
# Whoever logs in waits for none of these.
HELD_BEHIND_LOGIN = (
    "getty@tty1.service",
    "qemu-guest-agent.service",
    "serial-getty@ttyS0.service",
    "systemd-random-seed.service",
    "timers.target",
)
# What `guesthouse-renamed.service` starts in its time, and what comes with timers.target.
HELD_FOR_OTHERS = ("systemd-journal-flush.service", "timer")

STOCK: tuple[Tuning, ...] = ()

TUNINGS: tuple[Tuning, ...] = (
    Tuning(
        "one-process",
        "four Python programs that import the same 500 modules become forks of one that has them",
        has_files=True,
        for_gate=True,
    ),
    Tuning(
        "pinned-source",
        "the data sources are known: no shell script searches for them, twice a boot",
        has_files=True,
        for_gate=True,
    ),
    Tuning(
        "nothing-in-vain",
        "modules of cloud-init that cannot do anything here: no GRUB package, no old cloud-init to migrate from",
        has_files=True,
    ),
    Tuning(
        "quiet-boot",
        "a line on an emulated serial port costs a millisecond a character; errors still show",
        kernel_arguments=("quiet", "loglevel=3", "systemd.show_status=0", "audit=0"),
    ),
    Tuning(
        "root-writable-at-once",
        "the journal has repaired the file system when it is mounted; a check and a second mount only take time",
        has_files=True,
        kernel_arguments=("rw", "fsck.mode=skip"),
    ),
    Tuning(
        "no-needless-units",
        "drivers that the kernel loads itself when somebody opens their device, and what serves LVM or System V alone",
        masked_units=(
            "e2scrub_all.timer",
            "e2scrub_reap.service",
            "getty-static.service",
            "modprobe@configfs.service",
            "modprobe@dm_mod.service",
            "modprobe@drm.service",
            "modprobe@efi_pstore.service",
            "modprobe@fuse.service",
            "modprobe@loop.service",
            "systemd-initctl.socket",
            "systemd-update-utmp-runlevel.service",
        ),
    ),
    Tuning(
        "no-needless-generators",
        "programs that look before anything else for a boot loader's menu, unnamed partitions and a hibernated memory",
        masked_generators=(
            "systemd-bless-boot-generator",
            "systemd-gpt-auto-generator",
            "systemd-hibernate-resume-generator",
        ),
    ),
    Tuning(
        "coldplug",
        "of 400 devices of a guest, rules do something with a hundred; a driver's signature takes 0.1 s to check",
        has_files=True,
    ),
    Tuning(
        "no-address-contest",
        "the host gives out unique MAC addresses: asking the network whether it has another takes two seconds",
        has_files=True,
    ),
    Tuning(
        "one-sshd",
        "sshd checks its configuration when it starts: starting it twice only takes time",
        has_files=True,
    ),
    Tuning(
        "gate",
        "a template boots once, as far as it can without an identity; forks of it need not boot at all",
        has_files=True,
        held_units=(
            ("guesthouse-forked.target", HELD_FOR_STAGES),
            ("guesthouse-reached.target", HELD_BEHIND_LOGIN),
            ("", HELD_FOR_OTHERS),
        ),
        micro_files=(
            "__init__.py",
            "become.py",
            "entropy.py",
            "guest.py",
            "network.py",
            "plugged.py",
            "secureshell.py",
            "uevents.py",
        ),
        for_gate=True,
    ),
)


def kernel_arguments(tunings: tuple[Tuning, ...]) -> tuple[str, ...]:
    """What they add to the kernel's command line, in order."""
    return tuple(argument for tuning in tunings for argument in tuning.kernel_arguments)
