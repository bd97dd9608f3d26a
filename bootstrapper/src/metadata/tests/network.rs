//! `network-config`: what it comes to, and what is refused with which words.

use super::super::network::{read, render};
use super::{files, repository};

/// The files of a network as one text.
fn rendered(bytes: &[u8], source: &str) -> String {
    let files = read(bytes, source).map(|network| render(&network));
    let files = files.map_err(|fault| fault.to_string()).unwrap();
    files.iter().map(|(name, text)| format!("# {name}\n{text}\n")).collect()
}

#[test]
fn each_network_comes_to_these_files() {
    let mut seen = 0;
    let all = files(&repository().join("tests/fixtures/network"));
    for (name, bytes) in all.iter().filter(|(name, _)| name.ends_with(".yaml")) {
        let expected = name.replace(".yaml", ".txt");
        let expected = all.iter().find(|(name, _)| *name == expected).map_or(&b""[..], |(_, text)| text);
        assert_eq!(rendered(bytes, name), String::from_utf8_lossy(expected), "{name}");
        seen += 1;
    }
    assert_eq!(seen, 6);
}

#[test]
fn no_text_and_a_text_of_comments_say_nothing() {
    for text in ["", "# nothing\n", "network:\n", "{version: 1, config: disabled}"] {
        assert_eq!(rendered(text.as_bytes(), "n"), "", "{text:?}");
    }
}

/// One interface with these keys.
fn v2(keys: &str) -> String {
    format!("version: 2\nethernets:\n  eth0: {{{keys}}}\n")
}

fn v1(entry: &str) -> String {
    format!("version: 1\nconfig:\n  - {{{entry}}}\n")
}

const STATIC: &str = "type: physical, name: eth0, subnets: [{type: static";

#[test]
fn what_is_wrong_or_not_supported_is_refused_with_its_place() {
    let key =
        |known: &str| format!("this key is not supported by the image without cloud-init, which reads {known} here");
    let cases = [
        ("version: 3\n".to_owned(), "n:1:10: version: expected a whole number from 1 to 2".to_owned()),
        ("ethernets: {}\n".into(), "n:1:1: version: this key is required: add it".into()),
        ("- a\n".into(), "n:1:1: expected a mapping (lines of `key: value`), found a list".into()),
        ("version: 2\nethernets:\n\teth0: {}\n".into(), "n:3:2: a tab cannot indent YAML: use spaces".into()),
        (
            "version: 2\nbridges:\n  br0: {}\n".into(),
            format!("n:2:1: bridges: {}", key("`version`, `renderer`, `ethernets`, `bonds`, `vlans`")),
        ),
        (
            "version: 2\nrenderer: NetworkManager\n".into(),
            "n:2:11: renderer: only networkd is in the image: write `networkd`, or remove this line".into(),
        ),
        (
            "network: {version: 2}\nversion: 2\n".into(),
            format!("n:2:1: version: {}", key("`network`")),
        ),
        (
            "version: 2\nversion: 2\n".into(),
            "n:2:1: version: this key is in the same mapping twice: remove one of both".into(),
        ),
        (v2("dhcp4: perhaps"), "n:3:17: ethernets.eth0.dhcp4: expected true or false".into()),
        (v2("mtu: 20"), "n:3:15: ethernets.eth0.mtu: expected a whole number from 68 to 65536".into()),
        (
            v2("addresses: [10.0.0.11]"),
            "n:3:22: ethernets.eth0.addresses[0]: expected an address and the length of its network: 10.0.0.11/24".into(),
        ),
        (
            v2("addresses: [10.0.0.11/33]"),
            "n:3:22: ethernets.eth0.addresses[0]: expected an address and the length of its network: 10.0.0.11/24".into(),
        ),
        (
            v2("addresses: [10.0.0.11/24], gateway4: 10.0.1.1"),
            "n:1:1: eth0: the router 10.0.1.1 is in none of its networks: correct it, or write `on-link: true`".into(),
        ),
        (
            v2("routes: [{to: 10.0.0.0/8, via: \"fd00::1\"}]"),
            "n:3:19: ethernets.eth0.routes[0]: `to` and `via` are of IPv4 and IPv6: write both of one".into(),
        ),
        (v2("match: {}"), "n:3:17: ethernets.eth0.match: this would be every interface: write `macaddress`, `name` or `driver`".into()),
        (
            v2("match: {macaddress: 52:54:00}"),
            "n:3:30: ethernets.eth0.match.macaddress: expected the address of a card, such as \"52:54:00:12:34:56\"".into(),
        ),
        (
            v2("auth: {password: CANARY}"),
            format!(
                "n:3:10: ethernets.eth0.auth: {}",
                key(
                    "`match`, `set-name`, `optional`, `optional-addresses`, `critical`, `wakeonlan`, `dhcp-identifier`, \
                     `renderer`, `macaddress`, `mtu`, `dhcp4`, `dhcp6`, `accept-ra`, `dhcp4-overrides`, `dhcp6-overrides`, \
                     `link-local`, `addresses`, `gateway4`, `gateway6`, `routes`, `nameservers`"
                )
            ),
        ),
        (
            "version: 2\nethernets:\n  \"eth0\\nDHCP=yes\": {}\n".into(),
            "n:3:21: ethernets.(a key of 13 characters): expected a name of an interface: at most 15 letters, digits, `.`, \
             `_` and `-`"
                .into(),
        ),
        (
            v2("nameservers: {search: [\"a b\"]}"),
            "n:3:33: ethernets.eth0.nameservers.search[0]: expected a domain, such as example.com".into(),
        ),
        (
            "version: 2\nbonds: {bond0: {interfaces: [eth7]}}\n".into(),
            "n:1:1: bond0: it is made of eth7, of which nothing is said: add it".into(),
        ),
        (
            "version: 2\nethernets: {eth0: {dhcp4: true}}\nbonds: {bond0: {interfaces: [eth0]}}\n".into(),
            "n:1:1: eth0: it is part of a bond and has addresses of its own: give them to the bond".into(),
        ),
        (
            "version: 2\nethernets: {eth0: {}}\nvlans: {v: {id: 4095, link: eth0}}\n".into(),
            "n:3:17: vlans.v.id: expected a whole number from 1 to 4094".into(),
        ),
        (
            v1("type: bridge, name: br0"),
            "n:3:12: config[0].type: this type is not supported by the image without cloud-init, which reads `physical`, \
             `bond`, `vlan`, `nameserver`, `route`, `loopback`"
                .into(),
        ),
        (
            v1(&format!("{STATIC}, address: 10.0.0.11}}]")),
            "n:3:68: config[0].subnets[0].address: its network is not known: write the length behind it, such as \
             10.0.0.11/24"
                .into(),
        ),
        (
            v1(&format!("{STATIC}, address: 10.0.0.11, netmask: 255.0.255.0}}]")),
            "n:3:88: config[0].subnets[0].netmask: expected a mask, such as 255.255.255.0 or 24".into(),
        ),
        (
            v1(&format!("{STATIC}, address: 10.0.0.11/24, control: manual}}]")),
            "n:3:91: config[0].subnets[0].control: expected one of auto".into(),
        ),
        (
            v1("type: nameserver, address: 10.0.0.2, interface: eth7"),
            "n:3:5: config[0]: eth7: of this interface nothing is said: add it".into(),
        ),
        (
            v1("type: route, destination: 10.9.0.0/16, gateway: 10.7.0.1"),
            "n:3:5: config[0]: the gateway 10.7.0.1 is in no network of any interface: correct it".into(),
        ),
        (
            format!("{}  - {{type: physical, name: eth0}}\n", v1("type: physical, name: eth0")),
            "n:1:1: eth0: there are two interfaces of this name: keep one".into(),
        ),
    ];
    let said = |text: &String| read(text.as_bytes(), "n").map_or_else(|fault| fault.to_string(), |_| "nothing".into());
    let (texts, expected): (Vec<String>, Vec<String>) = cases.into_iter().unzip();
    let found: Vec<String> = texts.iter().map(said).collect();
    assert_eq!(found.join("\n"), expected.join("\n"));
    assert!(!found.join("\n").contains("CANARY"));
}

#[test]
fn a_card_that_is_not_there_is_told_by_how_it_was_described() {
    let network = read(include_bytes!("../../../../tests/fixtures/network/v2-bond-vlan.yaml"), "n").unwrap();
    let there = [("ens3".to_owned(), "52:54:00:00:00:02".to_owned())];
    let absent: Vec<String> = network.absent(&there).iter().map(ToString::to_string).collect();
    assert_eq!(absent, ["enp1s0 with the address 52:54:00:00:00:01"]);
}
