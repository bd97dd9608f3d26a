"""Python reads it before cloud-init, whose service has this directory in PYTHONPATH.

cloud-init writes instance-data.json for everybody to read. It leaves out what it knows to be user-data; Compute Engine's
attributes, and fields of other platforms in which people write passwords, it does not know. Nobody but root has a use for it.
"""

import functools

from cloudinit import sources

sources.write_json = functools.partial(sources.write_json, mode=0o600)
