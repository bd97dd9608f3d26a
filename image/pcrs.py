"""Prints, as JSON, what a TPM's registers 4 and 11 hold once a disk has booted: pcrs.py RAW, in the tool root.

For a firmware that starts the disk first. Register 4 is the firmware's (TCG PC Client Platform Firmware Profile, 10.4.1): an
action, a separator, then each program that it is asked to start. systemd-stub asks it to start the kernel only without Secure
Boot, so there are two values. Register 11 is systemd-stub's: the UKI's sections.
"""

import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

import pefile

BANK = "sha256"
ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
FIRMWARE = [b"Calling EFI Application from Boot Option", b"\0\0\0\0"]


def records(command, path):
    """What systemd-pcrlock says that starting a file measures, as (register, digest)."""
    with tempfile.NamedTemporaryFile() as said:
        subprocess.run(
            ["/usr/lib/systemd/systemd-pcrlock", command, f"--pcrlock={said.name}", path],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for record in json.load(open(said.name))["records"]:
            digest = next(d["digest"] for d in record["digests"] if d["hashAlg"] == BANK)
            yield record["pcr"], bytes.fromhex(digest)


def started(disk, directory):
    """What is started one after the other: the boot loader, the UKI, and the kernel in it."""
    table = json.loads(subprocess.check_output(["sfdisk", "--json", disk]))["partitiontable"]["partitions"]
    start = next(p["start"] for p in table if p["type"] == ESP)
    image = f"{disk}@@{start * 512}"
    subprocess.run(["mcopy", "-i", image, "::/EFI/BOOT/BOOTX64.EFI", "::/EFI/Linux/*.efi", directory], check=True)
    (uki,) = pathlib.Path(directory).glob("*.efi")
    pe = pefile.PE(uki, fast_load=True)
    section = next(s for s in pe.sections if s.Name.rstrip(b"\0") == b".linux")
    kernel = pathlib.Path(directory, "linux")
    kernel.write_bytes(section.get_data()[: section.Misc_VirtualSize])
    return pathlib.Path(directory, "BOOTX64.EFI"), uki, kernel


def registers(events):
    """What events make of registers that began as zeros."""
    values = {4: bytes(32), 11: bytes(32)}
    for register, digest in events:
        values[register] = hashlib.sha256(values[register] + digest).digest()
    return {str(register): value.hex() for register, value in values.items()}


def main(disk):
    """Prints the registers."""
    with tempfile.TemporaryDirectory() as directory:
        loader, uki, kernel = started(disk, directory)
        signed = [*records("lock-pe", loader), *records("lock-uki", uki)]
        unsigned = [*signed, *records("lock-pe", kernel)]
    firmware = [(4, hashlib.sha256(event).digest()) for event in FIRMWARE]
    print(json.dumps({"bank": BANK, "secure_boot": registers(firmware + signed), "without": registers(firmware + unsigned)}, indent=2))


main(*sys.argv[1:])
