//! Which of its addresses a host takes, and that it hears of new ones.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use bootstrapper::exit::Exit;
use bootstrapper::paths::Paths;
use bootstrapper::sys::net::{self, Here, Local};
use bootstrapper::sys::netlink::Watch;
use plan::document::{Address, PeerEntry};

fn peers(urls: &[&str]) -> Vec<PeerEntry> {
    let entry = |(i, host): (usize, &&str)| PeerEntry {
        name: format!("etcd-{}", i + 1).parse().unwrap(),
        peer_url: format!("https://{host}:2380").parse().unwrap(),
    };
    urls.iter().enumerate().map(entry).collect()
}

fn here(addresses: &[(&str, &str)], route: Option<&str>, hostname: &str) -> Here {
    let local = |(interface, ip): &(&str, &str)| {
        let ip: IpAddr = ip.parse().unwrap();
        Local { interface: (*interface).into(), ip, up: true, carrier: true, loopback: ip.is_loopback(), lasting: true }
    };
    Here {
        addresses: addresses.iter().map(local).collect(),
        route: route.map(|ip| ip.parse().unwrap()),
        hostname: hostname.into(),
        names: BTreeMap::from([
            ("one.example".into(), vec!["10.0.0.11".parse().unwrap()]),
            ("two.example".into(), vec!["10.0.0.12".parse().unwrap(), "fd00::12".parse().unwrap()]),
            ("self.example".into(), vec!["127.0.0.1".parse().unwrap()]),
        ]),
    }
}

fn interface(name: &str) -> Address {
    Address::Interface { interface: name.into() }
}
fn cidr(network: &str) -> Address {
    Address::Cidr { cidr: network.into() }
}
fn text(address: &str) -> Address {
    Address::Text(address.into())
}

#[test]
fn a_host_is_the_entry_of_the_list_whose_address_it_has() {
    let three = ["10.0.0.11", "10.0.0.12", "10.0.0.13"];
    let names = ["one.example", "two.example", "three.example"];
    let lo = ("lo", "127.0.0.1");
    let two =
        here(&[lo, ("eth0", "192.168.1.5"), ("eth1", "10.0.0.12"), ("eth1", "fe80::1")], Some("192.168.1.5"), "etcd-3");
    let dual = here(&[lo, ("eth0", "fd00::12"), ("eth0", "10.0.0.12")], None, "x");
    let early = here(&[lo], None, "etcd-3");
    let away = here(&[lo, ("eth0", "172.16.0.9")], Some("172.16.0.9"), "etcd-3.example");
    for (why, host, wanted, list, expected) in [
        ("the address decides, not the name", &two, Address::Auto, &three[..], Some(("10.0.0.12", 1))),
        ("auto may be written", &two, text("auto"), &three, Some(("10.0.0.12", 1))),
        ("a name that resolves to us", &two, Address::Auto, &names, Some(("10.0.0.12", 1))),
        ("no address yet", &early, Address::Auto, &three, None),
        ("no address yet, by names", &early, Address::Auto, &names, None),
        ("an address of the list will still come", &away, Address::Auto, &three, None),
        (
            "a name that nobody resolves is ours by the host's name",
            &away,
            Address::Auto,
            &names,
            Some(("172.16.0.9", 2)),
        ),
        ("an interface", &two, interface("eth1"), &three, Some(("10.0.0.12", 1))),
        ("IPv4 first", &dual, interface("eth0"), &names, Some(("10.0.0.12", 1))),
        ("an interface that will still come", &two, interface("eth7"), &three, None),
        ("an address that is not in the list", &two, interface("eth0"), &["10.0.0.11", "10.0.0.12"], None),
        ("that is mapped to the one entry with our name", &away, interface("eth0"), &three, Some(("172.16.0.9", 2))),
        ("a network", &two, cidr("10.0.0.0/24"), &three, Some(("10.0.0.12", 1))),
        ("an IPv6 network", &dual, cidr("fd00::/8"), &names, Some(("fd00::12", 1))),
        ("a network that will still come", &two, cidr("10.1.0.0/16"), &three, None),
        ("an address", &two, text("10.0.0.12"), &three, Some(("10.0.0.12", 1))),
        ("the only one, by a name that means itself", &early, Address::Auto, &["self.example"], Some(("127.0.0.1", 0))),
        (
            "a name that means itself says nothing among several",
            &early,
            Address::Auto,
            &["self.example", "b.example"],
            None,
        ),
    ] {
        let list = peers(list);
        let expected = expected.map(|(ip, entry): (&str, usize)| (ip.parse().unwrap(), list[entry].peer_url.clone()));
        assert_eq!(host.choose(&wanted, &list).unwrap(), expected, "{why}");
    }
}

#[test]
fn an_address_that_cannot_be_chosen_is_bad_input_that_names_both_sides() {
    let both = here(&[("eth0", "10.0.0.11"), ("eth1", "10.0.0.12")], None, "x");
    let list = peers(&["10.0.0.11", "10.0.0.12", "10.0.0.13"]);
    for (wanted, expected) in [
        (Address::Auto, "two of `peers`, 10.0.0.11 of `etcd-1` and 10.0.0.12 of `etcd-2`"),
        (cidr("10.0.0.0/8"), "10.0.0.0/8 holds 10.0.0.11 and 10.0.0.12"),
        (cidr("10.0.0.0"), "\"10.0.0.0\" is not a network"),
        (cidr("10.0.0.0/33"), "\"10.0.0.0/33\" is not a network"),
        (text("eth0"), "\"eth0\" is not an address"),
    ] {
        let error = both.choose(&wanted, &list).unwrap_err();
        assert_eq!(Exit::of(&error), Exit::BadInput);
        assert!(error.to_string().contains(expected), "{error}");
    }
    let error = net::set_hostname(&Paths::under("/nowhere"), Some("a b")).unwrap_err();
    assert_eq!(Exit::of(&error), Exit::BadInput);
    net::set_hostname(&Paths::under("/nowhere"), Some("etcd-1.example")).unwrap();
}

/// Runs the test of this name once more in a network of its own; true in there.
fn in_a_network_of_its_own(test: &str) -> bool {
    const INSIDE: &str = "TEST_IS_IN_A_NETWORK_OF_ITS_OWN";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let own = std::env::current_exe().unwrap();
    let status =
        Command::new("unshare").arg("-n").arg(own).args(["--exact", test, "--nocapture"]).env(INSIDE, "1").status();
    assert!(status.unwrap().success());
    false
}

fn ip(command: &str) {
    let enter = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/enter.sh");
    let status = Command::new(enter).arg("ip").args(command.split(' ')).status().unwrap();
    assert!(status.success(), "ip {command}");
}

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_new_address_and_a_new_route_are_heard_of() {
    if !in_a_network_of_its_own("address::a_new_address_and_a_new_route_are_heard_of") {
        return;
    }
    let watch = Watch::network().unwrap();
    assert!(!watch.changed(Duration::from_millis(50)).await.unwrap(), "nothing has happened yet");
    assert_eq!(net::default_route_address(), None);
    let list = peers(&["10.9.0.2", "10.9.0.3"]);
    assert_eq!(net::choose_address(&Address::Auto, &list).unwrap(), None);

    ip("link add d0 type veth peer name d1");
    ip("link set d1 up");
    ip("link set d0 up");
    assert!(watch.changed(SOON).await.unwrap());
    for (change, route) in [("addr add 10.9.0.2/24 dev d0", None), ("route add default via 10.9.0.1", Some("10.9.0.2"))]
    {
        while watch.changed(Duration::from_millis(200)).await.unwrap() {}
        ip(change);
        assert!(watch.changed(SOON).await.unwrap(), "{change}");
        assert_eq!(net::default_route_address(), route.map(|r| r.parse().unwrap()), "{change}");
    }
    let chosen = net::choose_address(&Address::Auto, &list).unwrap();
    assert_eq!(chosen, Some(("10.9.0.2".parse().unwrap(), list[0].peer_url.clone())));

    // Duplicate address detection takes a second or two, and until it is done nobody can bind the address.
    ip("addr add fd09::2/64 dev d0");
    let arrived = async {
        while !net::addresses().unwrap().iter().any(|a| a.ip == "fd09::2".parse::<IpAddr>().unwrap()) {
            watch.changed(SOON).await.unwrap();
        }
        std::net::UdpSocket::bind("[fd09::2]:0").unwrap();
    };
    tokio::time::timeout(SOON, arrived).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_comes_is_heard_of() {
    let disks = Watch::disks().unwrap();
    // Any disk will do: the kernel says again that it is there.
    let any = std::fs::read_dir("/sys/class/block").unwrap().next().unwrap().unwrap().path();
    std::fs::write(any.join("uevent"), "change").unwrap();
    assert!(disks.changed(SOON).await.unwrap());
}
