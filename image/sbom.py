"""Adds to debsbom's bills of materials what no package knows: our crates, and the Go modules in an etcd of upstream's.

sbom.py SBOM CRATES CARGO_LOCK ETCD MANIFEST OUT: SBOM and OUT without .spdx.json and .cdx.json
"""

import json
import pathlib
import re
import sys
import tomllib

sbom, crates, lock, etcd, manifest, out = sys.argv[1:]
manifest = json.load(open(manifest))
spdx = json.load(open(sbom + ".spdx.json"))
cdx = json.load(open(sbom + ".cdx.json"))
image = cdx["metadata"]["component"]["bom-ref"]
image_spdx = next(r["relatedSpdxElement"] for r in spdx["relationships"] if r["relationshipType"] == "DESCRIBES")


def add(name, version, purl, whole, licence=None, sha256=None, kind="library"):
    """A component that is linked into another, or is a program of the image itself."""
    identity = "SPDXRef-" + re.sub("[^A-Za-z0-9.]+", "-", purl)
    package = {
        "SPDXID": identity,
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": licence or "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "primaryPackagePurpose": kind.upper(),
        "externalRefs": [{"referenceCategory": "PACKAGE_MANAGER", "referenceType": "purl", "referenceLocator": purl}],
    }
    component = {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if sha256:
        package["checksums"] = [{"algorithm": "SHA256", "checksumValue": sha256}]
        component["hashes"] = [{"alg": "SHA-256", "content": sha256}]
    if licence:
        component["licenses"] = [{"expression": licence}]
    spdx["packages"].append(package)
    cdx["components"].append(component)
    cdx["dependencies"].append({"ref": purl})
    spdx["relationships"].append(
        {
            "spdxElementId": whole[0] if whole else image_spdx,
            "relatedSpdxElement": identity,
            "relationshipType": "STATIC_LINK" if whole else "CONTAINS",
        }
    )
    of = next(d for d in cdx["dependencies"] if d["ref"] == (whole[1] if whole else image))
    of.setdefault("dependsOn", []).append(purl)
    return identity, purl


def modules(binary):
    """The modules that a Go program says it was linked from, as `go version -m` prints them; Debian's say none."""
    data = binary.read_bytes()
    at = data.find(b"\xff Go buildinf:") + 32
    if at < 32:
        raise SystemExit(f"{binary} has no build information of Go's: is it etcd?")
    texts = []
    for _ in range(2):
        length = shift = 0
        while True:
            length |= (data[at] & 127) << shift
            shift += 7
            at += 1
            if data[at - 1] < 128:
                break
        texts.append(data[at : at + length])
        at += length
    # 16 bytes on both sides keep others from reading it by chance.
    lines = [line.split("\t") for line in texts[1][16:-16].decode().splitlines()]
    found = []
    for line in lines:
        if line[0] == "=>":
            found[-1] = line
        elif line[0] == "dep":
            found.append(line)
    return texts[0].decode().removeprefix("go"), [(line[1], line[2]) for line in found]


sums = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.load(open(lock, "rb"))["package"]}
linked = {}
for line in open(crates):
    crate, licence = line.rstrip("\n").split("|")
    name, version = crate.split()[:2]
    # Cargo took a slash for OR before SPDX had expressions; "(*)" marks what it has printed before.
    linked[name, version.removeprefix("v")] = licence.removesuffix(" (*)").replace("/", " OR ")
version = next(v for n, v in linked if n == "etcd-bootstrapper")
program = add(
    "etcd-bootstrapper", version, f"pkg:cargo/etcd-bootstrapper@{version}", None,
    linked.pop(("etcd-bootstrapper", version)), kind="application",
)  # fmt: skip
for (name, version), licence in sorted(linked.items()):
    add(name, version, f"pkg:cargo/{name}@{version}", program, licence, sums[name, version])

if not (pathlib.Path(etcd) / "control").exists():
    source = manifest["etcd"]
    whole = add(
        "etcd", source["version"], f"pkg:github/etcd-io/etcd@v{source['version']}", None,
        "Apache-2.0", source["archive_sha256"], kind="application",
    )  # fmt: skip
    found = set()
    for name in ("etcd", "etcdctl", "etcdutl"):
        go, deps = modules(pathlib.Path(etcd) / name)
        found |= {("stdlib", go), *deps}
    for name, version in sorted(found):
        add(name, version, f"pkg:golang/{name}@{version}", whole)

raw = manifest["files"][manifest["name"] + ".raw"]["sha256"]
cdx["metadata"]["component"]["hashes"] = [{"alg": "SHA-256", "content": raw}]
next(p for p in spdx["packages"] if p["SPDXID"] == image_spdx)["checksums"] = [{"algorithm": "SHA256", "checksumValue": raw}]

# debsbom writes in the order of a set.
spdx["packages"].sort(key=lambda p: p["SPDXID"])
spdx["relationships"].sort(key=lambda r: (r["spdxElementId"], r["relationshipType"], r["relatedSpdxElement"]))
spdx.get("hasExtractedLicensingInfos", []).sort(key=lambda info: info["licenseId"])
cdx["components"].sort(key=lambda c: c["bom-ref"])
cdx["dependencies"].sort(key=lambda d: d["ref"])
for dependency in cdx["dependencies"]:
    dependency.get("dependsOn", []).sort()
for document, end in ((spdx, ".spdx.json"), (cdx, ".cdx.json")):
    with open(out + end, "w") as file:
        json.dump(document, file, indent=1, sort_keys=True)
        file.write("\n")
