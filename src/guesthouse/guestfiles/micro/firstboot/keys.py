"""Which keys of cloud-config are done, which mean nothing here, and which are refused.

Source: cloud-init's module reference.
"""

from __future__ import annotations

from .modules import MODULES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .outcome import Outcome

_IN_MEMORY = "the root is memory and as large as it is"
# Keys that change nothing here, and why.
IGNORED = {
    "timezone": "the clock is UTC",
    "locale": "the only locale is C.UTF-8",
    "locale_configfile": "the only locale is C.UTF-8",
    "keyboard": "the console is a serial line",
    "growpart": _IN_MEMORY,
    "resize_rootfs": _IN_MEMORY,
    "ssh_deletekeys": "there are no keys of an earlier boot",
    "ssh_genkeytypes": "the key made here is ed25519",
    "ssh_quiet_keygen": "keys are made quietly",
    "no_ssh_fingerprints": "fingerprints are not printed",
    "ssh_fp_console_blacklist": "keys are not printed",
    "ssh_key_console_blacklist": "keys are not printed",
    "disable_root_opts": "root is either open or has no key",
    "allow_public_ssh_keys": "public keys of the source are always taken",
    "datasource": "the sources are looked for in fixed order",
    "datasource_list": "the sources are looked for in fixed order",
    "output": "all output goes to /var/log/cloud-init-output.log",
    "vendor_data": "read before",
    "package_update": "there are no packages",
    "package_upgrade": "there are no packages",
    "package_reboot_if_required": "there are no packages",
    "ntp": "the clock is the host's",
    "byobu_by_default": "there is no byobu",
}

_NO_PACKAGES = "the micro image has no package manager"
_NO_DISKS = "the micro image mounts no disks; do it in runcmd"
# Keys of cloud-init that cannot be done here, and why.
REFUSED = {
    **dict.fromkeys(
        ("packages", "apt", "snap", "yum_repos", "zypper", "ubuntu_advantage", "apk_repos", "apt_pipelining"),
        _NO_PACKAGES,
    ),
    **dict.fromkeys(("mounts", "mount_default_fields", "swap", "disk_setup", "fs_setup", "device_aliases"), _NO_DISKS),
    **dict.fromkeys(
        ("chef", "puppet", "salt_minion", "ansible", "mcollective", "landscape", "rh_subscription", "lxd", "fan"),
        "the micro image does not contain it",
    ),
    "ca_certs": "the micro image has no certificate store",
    "phone_home": "the host is told by the report port",
    "ssh_import_id": "keys are given in ssh_authorized_keys",
    "rsyslog": "the micro image has no rsyslog",
    "resolv_conf": "name servers are given in network-config",
    "user": "use users",
}


def check(config: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    """The keys that modules may take; the others are failed or ignored by name."""
    types = {key: kind for module in MODULES for key, kind in module.keys.items()}
    names = {key: module.name for module in reversed(MODULES) for key in module.keys}
    good = {}
    for key, value in config.items():
        if key in types and (value is None or isinstance(value, types[key])):
            if value is not None:
                good[key] = value
        elif key in types:
            kinds = types[key] if isinstance(types[key], tuple) else (types[key],)
            words = " or ".join(_WORDS[kind] for kind in kinds)
            outcome.fail(names[key], f"{key} must be {words}, not {value!r}")
        elif key in IGNORED:
            outcome.ignore(key, IGNORED[key])
        else:
            outcome.fail(key, REFUSED.get(key, "the micro image does not know this key"))
    return good


_WORDS = {str: "a text", list: "a list", dict: "a mapping", bool: "true or false"}
