"""cloud-init's part handler for etcd-bootstrapper (in /var/lib/cloud/handlers, or the `handlers` of another cloud_dir).

It keeps the parts that are for etcd-bootstrapper where that reads them, so that cloud-init has nothing to warn about, and
runs nothing: scripts, boothooks and handlers in user-data are passed over with a warning.
"""

import logging
import os

from cloudinit import handlers
from cloudinit.settings import PER_ALWAYS

LOG = logging.getLogger(__name__)
DIRECTORY = "/run/cloud-init/etcd-bootstrapper"
DOCUMENTS = ["text/x-etcd-bootstrapper", "application/vnd.etcd-bootstrapper"]
WHOLE = handlers.NOT_MULTIPART_TYPE
SCRIPTS = [
    "text/cloud-boothook",
    "text/x-shellscript",
    "text/x-shellscript-per-boot",
    "text/x-shellscript-per-instance",
    "text/x-shellscript-per-once",
]
# How user-data begins that is not cloud-init's and is etcd-bootstrapper's.
OURS = ("#etcd-bootstrapper", "#systemd-userdata", "{")

handler_version = 2
frequency = PER_ALWAYS


def list_types():
    return DOCUMENTS + [WHOLE] + SCRIPTS


def handle_part(_data, ctype, filename, payload, _frequency):
    if ctype in DOCUMENTS:
        _keep(payload, "yaml")
    elif ctype in SCRIPTS:
        LOG.warning("%s (%s) is not run: nothing in user-data is executed by this image", filename, ctype)
    elif ctype == WHOLE:
        text = payload.decode("utf-8", "replace") if isinstance(payload, bytes) else payload
        if text.startswith(OURS):
            _keep(payload, "user-data")
        elif text.strip():
            LOG.warning("user-data is neither cloud-init's nor etcd-bootstrapper's, and is not read")


def _keep(payload, kind):
    os.makedirs(DIRECTORY, mode=0o700, exist_ok=True)
    number = len(os.listdir(DIRECTORY)) + 1
    if isinstance(payload, str):
        payload = payload.encode()
    target = os.open(
        os.path.join(DIRECTORY, "part-%03d.%s" % (number, kind)), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600
    )
    with os.fdopen(target, "wb") as file:
        file.write(payload)


def _refuse(_data, ctype, filename, _payload):
    LOG.warning("%s (%s) is not run: nothing in user-data is executed by this image", filename, ctype)


# cloud-init asks nobody before it runs a handler that user-data brings.
handlers.walker_handle_handler = _refuse
