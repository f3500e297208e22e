"""The house's errors in EC2's words, by tables.

Source: Amazon EC2 API Reference, "Error codes".
"""

from __future__ import annotations

from guesthouse.formats.awsquery.fault import Fault
from guesthouse.model.errors import GuesthouseError

MISSING = {
    "machine": "InvalidInstanceID.NotFound",
    "image": "InvalidAMIID.NotFound",
    "disk": "InvalidVolume.NotFound",
    "snapshot": "InvalidSnapshot.NotFound",
    "key": "InvalidKeyPair.NotFound",
    "network": "InvalidVpcID.NotFound",
    "subnet": "InvalidSubnetID.NotFound",
    "group": "InvalidGroup.NotFound",
    "rule": "InvalidPermission.NotFound",
    "address": "InvalidAllocationID.NotFound",
}
IN_THE_WAY = {
    "machine": "IncorrectInstanceState",
    "image": "InvalidAMIID.Unavailable",
    "disk": "IncorrectState",
    "snapshot": "InvalidSnapshot.InUse",
    "network": "DependencyViolation",
    "subnet": "DependencyViolation",
    "group": "DependencyViolation",
    "address": "InvalidIPAddress.InUse",
    "token": "IdempotentParameterMismatch",
}
TAKEN = {
    "key": "InvalidKeyPair.Duplicate",
    "group": "InvalidGroup.Duplicate",
    "image": "InvalidAMIName.Duplicate",
    "subnet": "InvalidSubnet.Conflict",
}
USED_UP = {
    "machines": "InstanceLimitExceeded",
    "vcpus": "VcpuLimitExceeded",
    "memory_mib": "InstanceLimitExceeded",
    "disk_mib": "VolumeLimitExceeded",
    "addresses": "AddressLimitExceeded",
    "networks": "VpcLimitExceeded",
}
# By the field at fault, whatever it is about.
FIELDS = {
    "protected": "OperationNotPermitted",
    "screen": "UnsupportedOperation",
    "address": "InvalidIPAddress.InUse",
    "tags": "TagLimitExceeded",
}
# By the code of the house's error: EC2's code, and the HTTP status.
PLAIN = {
    "invalid": ("InvalidParameterValue", 400),
    "not-found": ("InvalidParameterValue", 400),
    "conflict": ("IncorrectState", 400),
    "denied": ("UnauthorizedOperation", 403),
    "quota-exceeded": ("ResourceLimitExceeded", 400),
    "no-capacity": ("InsufficientInstanceCapacity", 500),
    "failed": ("InternalError", 500),
    "timed-out": ("Unavailable", 503),
}


def fault_of(error: GuesthouseError) -> Fault:
    """A refusal of the house as EC2 would say it, with what mends it."""
    code, status = PLAIN[error.code]
    about = error.subject.partition(" ")[0]
    if error.code == "not-found":
        code = MISSING.get(about, code)
    elif error.code == "conflict":
        code = TAKEN.get(about, code) if error.field == "name" else IN_THE_WAY.get(about, code)
        code = FIELDS.get(error.field, code)
    elif error.code == "quota-exceeded":
        code = USED_UP.get(error.field, code)
    hint = f" ({error.hint})" if error.hint else ""
    return Fault(code, f"{error.message}{hint}", status)
