"""What the firmware tells the guest of its machine (SMBIOS, type 1).

Rules
-----
1. The UUID is the machine's id: the same at every start, after a revert, on another host. A fork has its own from its
   first boot on; until then its guest has in memory what the machine told that it was forked from.
2. A machine that is to ask the metadata service is made known as EC2 makes its own known: the UUID begins with `ec2`,
   and is the serial number, too. It is the id with other first digits, so it stays as the id does.
3. Any other machine has no serial number, so that none is taken for one of EC2 whose id begins so by chance.

Source: Amazon's "Identify EC2 instances"; cloud-init 22.4, sources/DataSourceEc2.py (`identify_aws`): only then does it
ask for a session (IMDSv2). Linux's dmi-id and QEMU agree on the order of a UUID's bytes (SMBIOS 2.6 and later).
"""

from __future__ import annotations

from guesthouse.model.machine import Datasource

_EC2 = "ec2"


def uuid(id: str, datasource: Datasource) -> str:
    """The machine's system UUID."""
    return _EC2 + id[len(_EC2) :] if datasource is Datasource.METADATA else id


def system(id: str, datasource: Datasource, family: str = "") -> dict[str, str]:
    """What is told beside the UUID, by QEMU's names; `family` tells a template's boot from others."""
    serial = {"serial": uuid(id, datasource)} if datasource is Datasource.METADATA else {}
    return {"manufacturer": "Guesthouse", "product": "machine", **serial, **({"family": family} if family else {})}
