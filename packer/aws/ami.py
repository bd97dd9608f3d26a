"""Registers a raw disk as an Amazon machine image: its blocks become an EBS snapshot by the EBS direct APIs.

No bucket, no import role and no helper instance. Credentials are boto3's own: variables, profile, SSO or a role.
"""

import argparse
import base64
import concurrent.futures
import hashlib
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# Of EBS; a snapshot has no other: https://docs.aws.amazon.com/ebs/latest/userguide/ebs-accessing-snapshot.html
BLOCK = 512 * 1024
GIB = 1 << 30
# EBS takes 1000 PutSnapshotBlock a second of one account; 16 at once fill a line of a gigabit.
AT_ONCE = 16


class Refused(Exception):
    """What a person has to put right; printed without a trace."""


def main():
    arguments = parse()
    config = Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"max_attempts": 10, "mode": "adaptive"},
        max_pool_connections=AT_ONCE,
    )
    session = boto3.session.Session(region_name=arguments.region)

    def client(service):
        return session.client(service, endpoint_url=arguments.endpoint, config=config)

    try:
        image, new = publish(client("ebs"), client("ec2"), arguments)
    except (Refused, BotoCoreError, ClientError, OSError) as error:
        sys.exit(f"ami.py: {error}")
    print(f"{arguments.name} in {arguments.region}: {image}{'' if new else ', registered before from the same disk'}")


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", required=True, help="the raw disk")
    parser.add_argument("--sha256", required=True, help="what it must be")
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--no-tpm", action="store_true", help="for instance types without NitroTPM")
    parser.add_argument("--kms-key", help="encrypts the snapshot")
    parser.add_argument("--endpoint", help="who answers in the place of AWS")
    return parser.parse_args()


def publish(ebs, ec2, arguments):
    """The image's ID, and whether it is new; a second run with the same disk registers nothing."""
    known = ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": [arguments.name]}])["Images"]
    # The description, since it comes to be together with the image, and tags come after it.
    if known and arguments.sha256 not in known[0].get("Description", ""):
        raise Refused(
            f"{arguments.name} is {known[0]['ImageId']} already, of another disk: "
            "give this one another version or name, or deregister that one"
        )
    if known:
        as_asked(ec2, known[0], arguments)
    tags = [
        {"Key": "Name", "Value": arguments.name},
        {"Key": "version", "Value": arguments.version},
        {"Key": "sha256", "Value": arguments.sha256},
    ]
    if known:
        image = known[0]["ImageId"]
    else:
        snapshot = uploaded(ec2, arguments) or upload(ebs, arguments, tags)
        # Seconds for a disk of this size; ten minutes at most.
        ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot], WaiterConfig={"Delay": 5, "MaxAttempts": 120})
        image = ec2.register_image(**registration(arguments, snapshot))["ImageId"]
    # RegisterImage itself takes tags only of later boto3 than Debian 12's.
    ec2.create_tags(Resources=[image], Tags=tags)
    return image, not known


def as_asked(ec2, image, arguments):
    """Neither a TPM nor a key can be given to an image that is registered."""
    has_tpm = image.get("TpmSupport") == "v2.0"
    if has_tpm == arguments.no_tpm:
        raise Refused(
            f"{arguments.name} is {image['ImageId']} already, {'with' if has_tpm else 'without'} a TPM: "
            f"give -var tpm={str(has_tpm).lower()}, or give this one another name, or deregister that one"
        )
    # No key asked for is also what an account says that encrypts by default.
    if arguments.kms_key:
        snapshots = [each["Ebs"]["SnapshotId"] for each in image["BlockDeviceMappings"] if "Ebs" in each]
        for each in ec2.describe_snapshots(SnapshotIds=snapshots)["Snapshots"]:
            key = each.get("KmsKeyId")
            if key != arguments.kms_key:
                raise Refused(
                    f"{arguments.name} is {image['ImageId']} already, and its snapshot {each['SnapshotId']} is encrypted by "
                    f"{key or 'no key'}, not by {arguments.kms_key}: give this one another name, or deregister that one"
                )


def uploaded(ec2, arguments):
    """The snapshot of an earlier run that went no further."""
    filters = [
        {"Name": "tag:sha256", "Values": [arguments.sha256]},
        {"Name": "status", "Values": ["completed"]},
    ]
    for each in ec2.describe_snapshots(OwnerIds=["self"], Filters=filters)["Snapshots"]:
        if each.get("KmsKeyId") == arguments.kms_key:
            return each["SnapshotId"]
    return None


def registration(arguments, snapshot):
    """What makes the difference between an image and one that boots: without a boot mode, Intel's and AMD's boot by BIOS."""
    request = {
        "Name": arguments.name,
        "Description": f"etcd-bootstrapper {arguments.version}, sha256 {arguments.sha256}",
        "Architecture": "x86_64",
        "VirtualizationType": "hvm",
        "BootMode": "uefi",
        "ImdsSupport": "v2.0",
        "EnaSupport": True,
        "SriovNetSupport": "simple",
        "RootDeviceName": "/dev/xvda",
        "BlockDeviceMappings": [
            {
                "DeviceName": "/dev/xvda",
                "Ebs": {"SnapshotId": snapshot, "VolumeType": "gp3", "DeleteOnTermination": True},
            }
        ],
    }
    if not arguments.no_tpm:
        request["TpmSupport"] = "v2.0"
    return request


def upload(ebs, arguments, tags):
    """The snapshot's ID, once EBS has confirmed the sum over all of its blocks; blocks of zeros are not sent."""
    with open(arguments.image, "rb") as disk:
        size = disk.seek(0, 2)
        disk.seek(0)
        request = {
            "VolumeSize": -(-size // GIB),
            "Description": f"{arguments.name}, sha256 {arguments.sha256}",
            "Tags": tags,
            # An upload that broke off is ended by EBS itself, after so many minutes without a block.
            "Timeout": 60,
        }
        if arguments.kms_key:
            request.update(Encrypted=True, KmsKeyArn=arguments.kms_key)
        snapshot = ebs.start_snapshot(**request)["SnapshotId"]
        digests, whole = send(ebs, snapshot, disk)
    if whole != arguments.sha256:
        raise Refused(f"{arguments.image} changed while it was sent; the snapshot {snapshot} stays incomplete, and EBS removes it")
    ebs.complete_snapshot(
        SnapshotId=snapshot,
        ChangedBlocksCount=len(digests),
        Checksum=base64.b64encode(hashlib.sha256(b"".join(digests)).digest()).decode(),
        ChecksumAlgorithm="SHA256",
        ChecksumAggregationMethod="LINEAR",
    )
    return snapshot


def send(ebs, snapshot, disk):
    """The sum of each block that was sent, in their order, and the sum of the disk."""
    digests, whole, waiting = [], hashlib.sha256(), set()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        index = 0
        while data := disk.read(BLOCK):
            whole.update(data)
            # The last block of a disk may be a part of one; EBS knows whole ones only.
            data = data.ljust(BLOCK, b"\0")
            if data.count(0) != BLOCK:
                digest = hashlib.sha256(data).digest()
                digests.append(digest)
                waiting.add(pool.submit(put, ebs, snapshot, index, data, digest))
            # Bounded, or the whole disk is in memory on a slow line.
            if len(waiting) >= 2 * AT_ONCE:
                done, waiting = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
                for each in done:
                    each.result()
            index += 1
        for each in waiting:
            each.result()
    return digests, whole.hexdigest()


def put(ebs, snapshot, index, data, digest):
    ebs.put_snapshot_block(
        SnapshotId=snapshot,
        BlockIndex=index,
        BlockData=data,
        DataLength=BLOCK,
        Checksum=base64.b64encode(digest).decode(),
        ChecksumAlgorithm="SHA256",
    )


if __name__ == "__main__":
    main()
