//! Every row of `plan::installing`: which disk is written to, and which words refuse.

use plan::install::{InstallEntry, Selector};
use plan::installing::{Content, LOOP, Lived, Receipt, Target, Verdict, Wanted, Whose, changed, choose};
use plan::member::ClusterId;

const NOW: u64 = 1_800_000_000;
const LEAST: u64 = 2_000_000_000;

fn disk(name: &str) -> Target {
    Target {
        name: name.into(),
        bytes: 8_000_000_000,
        sector: 512,
        serial: Some(format!("S-{name}")),
        wwid: Some(format!("naa.5000{name}")),
        model: Some("Model A".into()),
        links: vec![format!("/dev/disk/by-path/pci-{name}")],
        medium: false,
        removable: false,
        read_only: false,
        mounts: vec![],
        holders: vec![],
        content: Content::Blank,
        members: vec![],
    }
}

fn with(change: impl Fn(&mut Target)) -> Vec<Target> {
    let mut a = disk("sda");
    change(&mut a);
    vec![a, disk("sdb")]
}

fn ours(receipt: Option<(&str, &str, Option<u64>)>) -> Content {
    let receipt =
        receipt.map(|(image, config, handed_over)| Receipt { image: image.into(), config: config.into(), handed_over });
    Content::Ours { receipt, in_the_way: None }
}

fn lives(cluster: Option<u64>, kept: bool) -> Vec<Lived> {
    let whose = cluster.map_or(Whose::Unsaid, |id| Whose::Cluster(ClusterId(id)));
    vec![Lived { device: "sda5".into(), whose, kept }]
}

fn unknown(kept: bool) -> Vec<Lived> {
    vec![Lived { device: "sda5".into(), whose: Whose::Unknown("EIO".into()), kept }]
}

fn says(disk: &str, entry: &InstallEntry, disks: &[Target]) -> String {
    let selector = Selector::parse(disk).expect("a selector");
    let wanted = Wanted { entry, disk: &selector, image: "I", config: "C", least: LEAST, now: NOW };
    match choose(&wanted, disks) {
        Verdict::Write { disk, keep } => format!("write {}{}", disk.name, if keep { " and keep" } else { "" }),
        Verdict::Start(disk) => format!("start {}", disk.name),
        Verdict::Halt(disk) => format!("halt {}", disk.name),
        Verdict::Refuse(refusal) => refusal.to_string(),
    }
}

const SDA: &str = "sda (8000 MB, Model A, serial S-sda)";

/// Each row with the words that it has to say.
#[test]
fn every_row_of_the_table() {
    let plain = InstallEntry::default;
    let wipe = || InstallEntry { wipe: true, ..plain() };
    let keep = || InstallEntry { keep_data: true, ..plain() };
    let lose = |id| InstallEntry { wipe: true, wipe_member: Some(ClusterId(id)), ..plain() };
    let other = |d: &mut Target| d.content = Content::Other("a GPT partition table".into());
    let member = |d: &mut Target| {
        d.content = ours(None);
        d.members = lives(Some(0xab), true);
    };
    type Row<'r> = (&'r str, &'r str, InstallEntry, Vec<Target>, &'r [&'r str]);
    let rows: Vec<Row<'_>> = vec![
        // Exactly one.
        ("by serial", "serial=S-sda", plain(), with(|_| {}), &["write sda"]),
        ("by World Wide ID, as udev writes it", "wwid=wwn-0x5000SDA", plain(), with(|_| {}), &["write sda"]),
        ("by path", "path=/dev/disk/by-path/pci-sdb", plain(), with(|_| {}), &["write sdb"]),
        ("by model and size", "model=Model A,size=8GB", plain(), with(|d| d.bytes = 9_000_000_000), &["write sdb"]),
        ("nobody", "serial=S-none", plain(), with(|_| {}), &["no disk with serial S-none", SDA, "sdb ("]),
        ("no disk", "serial=S-none", plain(), vec![], &["there is no disk at all"]),
        (
            "two of a model",
            "model=Model A,size=8GB",
            plain(),
            with(|_| {}),
            &["2 disks with model Model A", SDA, "sdb ("],
        ),
        ("two paths", "serial=S-sda", plain(), vec![disk("sda"), disk("sda")], &["2 disks", "two paths to one disk"]),
        (
            "two paths, of which one is named",
            "path=/dev/disk/by-path/pci-sda",
            wipe(),
            with(|d| d.wwid = Some("naa.5000sdb".into())),
            &[SDA, "sdb with the same World Wide ID", "multipath is not supported"],
        ),
        // Never.
        ("the medium", "serial=S-sda", wipe(), with(|d| d.medium = true), &[SDA, "the medium"]),
        ("read-only", "serial=S-sda", wipe(), with(|d| d.read_only = true), &[SDA, "read-only"]),
        ("mounted", "serial=S-sda", wipe(), with(|d| d.mounts = vec!["/mnt".into()]), &[SDA, "mounted at /mnt"]),
        ("with a holder", "serial=S-sda", wipe(), with(|d| d.holders = vec!["dm-3".into()]), &[SDA, "dm-3 is made of"]),
        ("RAID", "serial=S-sda", wipe(), with(|d| d.content = Content::Shared("a RAID".into())), &["a part of a RAID"]),
        ("4096", "serial=S-sda", plain(), with(|d| d.sector = 4096), &["with sectors of 4096 bytes", "512e"]),
        ("too small", "serial=S-sda", plain(), with(|d| d.bytes = LEAST - 1), &["too small: 2000 MB are needed"]),
        ("just large enough", "serial=S-sda", plain(), with(|d| d.bytes = LEAST), &["write sda"]),
        (
            "removable",
            "model=Model A,size=9GB",
            plain(),
            with(|d| (d.bytes, d.removable) = (9_000_000_000, true)),
            &["a removable medium"],
        ),
        ("removable and named", "serial=S-sda", plain(), with(|d| d.removable = true), &["write sda"]),
        (
            "broken",
            "serial=S-sda",
            wipe(),
            with(|d| d.content = Content::Unreadable("EIO".into())),
            &["cannot be read: EIO"],
        ),
        // What is there.
        ("cut short", "serial=S-sda", plain(), with(|d| d.content = Content::Unfinished), &["write sda"]),
        (
            "not empty",
            "serial=S-sda",
            plain(),
            with(other),
            &[SDA, "not empty: a GPT partition table", "install.wipe: true"],
        ),
        ("not empty, wipe", "serial=S-sda", wipe(), with(other), &["write sda"]),
        ("not empty, wipe by wwid", "wwid=naa.5000sda", wipe(), with(other), &["write sda"]),
        (
            "not empty, wipe by a slot",
            "path=/dev/disk/by-path/pci-sda",
            wipe(),
            with(other),
            &["not empty", "named by its serial"],
        ),
        // A member.
        (
            "member",
            "serial=S-sda",
            plain(),
            with(member),
            &["a member of the etcd cluster 00000000000000ab on sda5", "install.wipe_member: \"00000000000000ab\""],
        ),
        (
            "member, wipe alone",
            "serial=S-sda",
            wipe(),
            with(member),
            &["a member of the etcd cluster 00000000000000ab"],
        ),
        (
            "member of another",
            "serial=S-sda",
            lose(0xcd),
            with(member),
            &["00000000000000ab", "one of the cluster 00000000000000cd"],
        ),
        ("member, named", "serial=S-sda", lose(0xab), with(member), &["write sda"]),
        (
            "member, named, without wipe",
            "serial=S-sda",
            InstallEntry { wipe: false, ..lose(0xab) },
            with(member),
            &["not empty"],
        ),
        (
            "a member that does not say whose",
            "serial=S-sda",
            lose(0xab),
            with(|d| {
                member(d);
                d.members = lives(None, true);
            }),
            &["does not say of which one"],
        ),
        (
            "a second member",
            "serial=S-sda",
            lose(0xab),
            with(|d| {
                member(d);
                d.members.extend(lives(Some(2), false));
            }),
            &["0000000000000002"],
        ),
        // Nobody knows.
        (
            "what cannot be looked at",
            "serial=S-sda",
            lose(0xab),
            with(|d| {
                other(d);
                d.members = unknown(false);
            }),
            &[SDA, "of which sda5 cannot be looked at: EIO", "look at it elsewhere"],
        ),
        (
            "a /var that cannot be looked at",
            "serial=S-sda",
            wipe(),
            with(|d| (d.content, d.members) = (ours(None), unknown(true))),
            &["of which sda5 cannot be looked at: EIO", "leave it by `install.keep_data: true`"],
        ),
        (
            "keep a /var that cannot be looked at",
            "serial=S-sda",
            keep(),
            with(|d| (d.content, d.members) = (ours(None), unknown(true))),
            &["write sda and keep"],
        ),
        (
            "keep beside what cannot be looked at",
            "serial=S-sda",
            keep(),
            with(|d| (d.content, d.members) = (ours(None), unknown(false))),
            &["of which sda5 cannot be looked at: EIO"],
        ),
        // Keeping.
        ("keep", "serial=S-sda", keep(), with(member), &["write sda and keep"]),
        (
            "keep by model",
            "model=Model A,size=9GB",
            keep(),
            with(|d| {
                member(d);
                d.bytes = 9_000_000_000;
            }),
            &["write sda and keep"],
        ),
        (
            "keep, another member elsewhere",
            "serial=S-sda",
            keep(),
            with(|d| {
                member(d);
                d.members = lives(Some(3), false);
            }),
            &["0000000000000003"],
        ),
        (
            "keep, slots overlap",
            "serial=S-sda",
            keep(),
            with(|d| d.content = Content::Ours { receipt: None, in_the_way: Some("over".into()) }),
            &["cannot stay: over"],
        ),
        (
            "keep, another's disk",
            "serial=S-sda",
            keep(),
            with(other),
            &["an installation of ours", "take `keep_data` out"],
        ),
        ("keep, blank", "serial=S-sda", keep(), with(|_| {}), &["write sda"]),
        // There already.
        ("same", "serial=S-sda", wipe(), with(|d| d.content = ours(Some(("I", "C", None)))), &["start sda"]),
        (
            "same, with its member",
            "serial=S-sda",
            plain(),
            with(|d| {
                member(d);
                d.content = ours(Some(("I", "C", None)));
            }),
            &["start sda"],
        ),
        (
            "same, and back",
            "serial=S-sda",
            wipe(),
            with(|d| d.content = ours(Some(("I", "C", Some(NOW - LOOP + 1))))),
            &["halt sda"],
        ),
        (
            "same, and back by a clock that went back",
            "serial=S-sda",
            wipe(),
            with(|d| d.content = ours(Some(("I", "C", Some(NOW + 5))))),
            &["halt sda"],
        ),
        (
            "same, months later",
            "serial=S-sda",
            wipe(),
            with(|d| d.content = ours(Some(("I", "C", Some(NOW - LOOP))))),
            &["start sda"],
        ),
        ("another image", "serial=S-sda", wipe(), with(|d| d.content = ours(Some(("J", "C", None)))), &["write sda"]),
        (
            "another configuration",
            "serial=S-sda",
            plain(),
            with(|d| d.content = ours(Some(("I", "D", None)))),
            &["not empty: an installation"],
        ),
    ];
    for (case, selector, entry, disks, expected) in rows {
        let said = says(selector, &entry, &disks);
        let one = expected.len() == 1 && ["write ", "start ", "halt "].iter().any(|word| expected[0].starts_with(word));
        if one {
            assert_eq!(said, expected[0], "{case}");
        } else {
            assert!(said.starts_with("nothing was written: found "), "{case}: {said}");
            assert!(said.contains("; expected "), "{case}: {said}");
            for words in expected {
                assert!(said.contains(words), "{case}: no {words:?} in {said:?}");
            }
        }
    }
}

/// Whatever else is asked for: a member is lost on its cluster's own ID, or not at all.
#[test]
fn no_word_but_its_clusters_id_loses_a_member() {
    let mut seen = 0;
    for wipe in [false, true] {
        for id in [None, Some(1), Some(2)] {
            for keep_data in [false, true] {
                for content in [
                    ours(None),
                    ours(Some(("J", "C", None))),
                    Content::Other("XFS".into()),
                    Content::Ours { receipt: None, in_the_way: Some("over".into()) },
                ] {
                    for whose in [Whose::Unsaid, Whose::Unknown("EIO".into()), Whose::Cluster(ClusterId(1))] {
                        for kept in [false, true] {
                            for selector in ["serial=S-sda", "wwid=naa.5000sda", "path=/dev/disk/by-path/pci-sda"] {
                                let entry = InstallEntry {
                                    wipe,
                                    keep_data,
                                    wipe_member: id.map(ClusterId),
                                    ..InstallEntry::default()
                                };
                                let lived = Lived { device: "sda5".into(), whose: whose.clone(), kept };
                                let disks = with(|d| (d.content, d.members) = (content.clone(), vec![lived.clone()]));
                                let said = says(selector, &entry, &disks);
                                let loses = said == "write sda" || said == "write sda and keep" && !kept;
                                assert!(
                                    !loses || wipe && id == Some(1) && whose == Whose::Cluster(ClusterId(1)),
                                    "{entry:?} {disks:?} {said}"
                                );
                                seen += u32::from(loses);
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(seen > 0);
}

/// Its members are not asked for again; all else is, since another disk may have its name.
#[test]
fn a_disk_that_was_chosen_is_written_to_while_it_is_as_it_was() {
    let mut chosen = disk("sda");
    chosen.members = lives(Some(0xab), true);
    assert_eq!(changed(&chosen, &with(|_| {})), None);
    let says = |disks: &[Target]| changed(&chosen, disks).expect("it has changed").to_string();
    let other = says(&with(|d| (d.serial, d.content) = (Some("S-new".into()), Content::Other("a swap area".into()))));
    assert_eq!(
        other,
        format!(
            "nothing was written: found sda (8000 MB, Model A, serial S-new) with a swap area where {SDA} with nothing was \
             chosen; expected the same disk as before: leave the disks alone while this installs"
        )
    );
    type Change = fn(&mut Target);
    let changes: [(&str, Change); 6] = [
        ("its size", |d| d.bytes += 512),
        ("its World Wide ID", |d| d.wwid = None),
        ("what is on it", |d| d.content = Content::Unreadable("EIO".into())),
        ("a mount", |d| d.mounts = vec!["/mnt".into()]),
        ("a holder", |d| d.holders = vec!["dm-0".into()]),
        ("a lock", |d| d.read_only = true),
    ];
    for (what, change) in changes {
        assert!(says(&with(change)).contains(&format!("where {SDA} with nothing was chosen")), "{what}");
    }
    let gone = says(&[disk("sdb")]);
    assert!(gone.contains("found no sda, but sdb (8000 MB, Model A, serial S-sdb), where sda"), "{gone}");
}
