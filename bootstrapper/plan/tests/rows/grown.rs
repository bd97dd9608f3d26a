//! Row 3 in a group: the survivor's list may be older than what the provider lists by now.

use plan::facts::{Instance, Inventory, Peer, Stage};
use plan::spec::Set;

use super::disk::{member, told, word};
use crate::support::{World, holds, name, running, terminated, url};

#[test]
fn row_3_asks_for_everybody_whom_the_group_lists_by_now() {
    let of = |given_up: &[u8], group: &[Instance]| told(1, given_up).group(group.to_vec());
    let now = [running(1), running(4), running(5), terminated(2), terminated(3)];
    let blank = |world: World, hosts: &[u8]| {
        hosts.iter().fold(world, |world, host| {
            let heard = world.waiting(*host, Stage::Blank);
            world.facts(|f| f.peers.push(Peer { name: Some(name(*host)), peer_url: url(*host), heard }))
        })
    };
    let nowhere = Instance { peer_url: None, ..running(4) };
    let unlisted =
        |inventory: Inventory| told(1, &[2, 3]).spec(|s| s.set = Set::Dynamic).facts(|f| f.inventory = inventory);
    for (world, row, why) in [
        (of(&[2, 3], &now), 4, "4 and 5 may serve with what this host never heard of"),
        (of(&[2, 3, 4], &now), 4, "5 may have the data of a quorum"),
        (of(&[2, 3, 4, 5], &now), 3, "the operator has given them up"),
        (blank(of(&[], &now), &[4, 5]), 3, "they are blank"),
        (blank(of(&[], &now), &[4]), 4, "5 was not asked yet"),
        (of(&[2, 3], &[running(1), terminated(4)]), 3, "the provider has ended it"),
        (of(&[2, 3], &[running(1), nowhere]), 4, "it has no address yet"),
        (of(&[2, 3], &[running(1)]), 3, "there is nobody else"),
        (unlisted(Inventory::Unknown { reason: "no answer".into() }), 4, "nobody knows who else is there"),
        (unlisted(Inventory::Static), 4, "nobody was asked who else is there"),
    ] {
        assert_eq!(world.decide().row, row, "{why}");
    }
    let told =
        plan::recovery::held_back(&of(&[2, 3], &now).spec, &of(&[2, 3], &now).facts, &member()).expect("a reason");
    assert!(told.contains("etcd-4 at https://10.0.0.14:2380 is neither") && told.contains("etcd-5 at "), "{told}");
    let word_for = |world: &World| word(&world.clone().spec(|s| s.recover = None));
    let alone = "recover: {survivor: etcd-1, epoch: 2, given_up: [etcd-4, etcd-5]}";
    assert_eq!(word_for(&of(&[], &now)).as_deref(), Some(alone));
    let four = "recover: {survivor: etcd-1, epoch: 2, given_up: [etcd-4]}";
    assert_eq!(word_for(&blank(of(&[], &now), &[5])).as_deref(), Some(four));
    let data = of(&[], &now).facts(|f| f.peers.push(Peer { name: Some(name(4)), peer_url: url(4), heard: holds() }));
    let remedy = plan::recovery::remedy(&data.spec, &data.facts).expect("a remedy");
    assert!(remedy.contains("; etcd-4 has data too: "), "{remedy}");
}
