"""Object stores: everything that reads or writes ``s3://``, ``gs://`` or ``hf://`` goes through here."""

from .address import Address, address, local_path, refuse_unknown
from .lease import lease
from .objects import Vanished, refuse_no_bucket
from .view import (
    address_holds_file,
    address_of,
    appended,
    fetch,
    given,
    path_of,
    present,
    publish,
    scratch,
    shown,
    telling,
)

__all__ = [
    "Address",
    "Vanished",
    "address",
    "address_holds_file",
    "address_of",
    "appended",
    "fetch",
    "given",
    "lease",
    "local_path",
    "path_of",
    "present",
    "publish",
    "refuse_no_bucket",
    "refuse_unknown",
    "scratch",
    "shown",
    "telling",
]
