//! Ways to the service: late ones, IPv6, and through systemd.

use super::*;

/// A host's own interface, `n0`, cabled to another network in which the service has its address.
fn beyond(cable: &'static str, service: Service) -> Log {
    let (tid, told) = mpsc::channel();
    let (cabled, plugged) = mpsc::channel();
    let (log, logged) = mpsc::channel();
    std::thread::spawn(move || {
        own_network(&[LINK]);
        tid.send(nix::unistd::gettid()).expect("the host waits");
        plugged.recv().expect("the cable is put in");
        ip(&format!("addr add 192.168.7.1/24 dev {cable}-far"));
        ip(&format!("link set {cable}-far up"));
        log.send(listen(LINK, service)).expect("the host waits");
        // A network lives as long as what is in it; the listener has its own hold of it.
    });
    let tid = told.recv().expect("the other network is there");
    ip(&format!("link add {cable} type veth peer name {cable}-far netns {tid}"));
    cabled.send(()).expect("the other network waits");
    let log = logged.recv().expect("the service listens");
    ip(&format!("addr add 192.168.7.2/24 dev {cable}"));
    ip(&format!("link set {cable} up"));
    log
}

#[test]
fn the_network_may_come_late_and_by_any_interface() {
    play(vec![
        row(
            "17: no route",
            s::EC2,
            |_| {
                own_network(&[]);
                Log::default()
            },
            75,
        )
        .patience("2s")
        .takes(20, 60)
        .says("Network is unreachable"),
        row(
            "18, 19: an interface and an address that come late",
            s::EC2,
            |_| {
                own_network(&[]);
                // Listens before the address is there, as any service beyond a router does.
                let listener = TcpListener::bind("0.0.0.0:80").expect("port 80");
                let log = accept(listener, Ec2::with(USER_DATA).serve());
                std::thread::spawn(|| {
                    std::thread::sleep(Duration::from_secs(2));
                    ip("link add d0 type veth peer name d1");
                    ip("link set d1 up");
                    ip(&format!("addr add {LINK}/32 dev d0"));
                    ip("link set d0 up");
                });
                log
            },
            0,
        )
        .takes(18, 60),
        row(
            "20: two interfaces, and the service is beyond the second",
            s::EC2,
            |_| {
                own_network(&[]);
                ip("link add dead0 type veth peer name dead1");
                ip("link set dead1 up");
                ip("addr add 10.0.0.2/24 dev dead0");
                ip("link set dead0 up");
                ip("route add default via 10.0.0.1");
                beyond("n0", Ec2::with(USER_DATA).serve())
            },
            0,
        )
        .takes(0, 40),
        row(
            "21: IPv6 alone, EC2",
            s::EC2,
            |_| {
                own_network(&[EC2_V6]);
                listen(EC2_V6, Ec2::with(USER_DATA).serve())
            },
            0,
        )
        .takes(0, 40),
        row("21: IPv6 alone, on the link", s::OPENSTACK, on_the_link(s::openstack(USER_DATA)), 0).takes(0, 40),
        row("21: IPv6 alone, on the link, Hetzner", s::HETZNER, on_the_link(s::hetzner(USER_DATA)), 0).takes(0, 40),
        row("21: IPv6 alone, Oracle", s::ORACLE, at_v6("fd00:c1::a9fe:a9fe", s::oracle(USER_DATA)), 0),
        row("21: IPv6 alone, Akamai", s::AKAMAI, at_v6("fd00:a9fe:a9fe::1", s::akamai(USER_DATA)), 0),
        row("21: IPv6 alone, Scaleway", s::SCALEWAY, at_v6("fd00:42::42", s::scaleway(USER_DATA)), 0),
    ]);
}

fn at_v6(address: &'static str, service: Service) -> impl FnOnce(&Path) -> Log + Send {
    move |_| {
        own_network(&[address]);
        listen(address, service)
    }
}

fn on_the_link(service: Service) -> impl FnOnce(&Path) -> Log + Send {
    move |_| {
        own_network(&[]);
        ip("addr add fe80::a9fe:a9fe/64 dev lo nodad");
        let address: Ipv6Addr = "fe80::a9fe:a9fe".parse().expect("an address");
        // The index of lo, in every network.
        accept(TcpListener::bind(SocketAddrV6::new(address, 80, 0, 1)).expect("port 80"), service)
    }
}

/// systemd-imdsd, for one call after another.
fn imdsd(root: &Path) {
    let socket = root.join("run/systemd/io.systemd.InstanceMetadata");
    std::fs::create_dir_all(socket.parent().expect("a directory")).expect("a directory");
    let listener = UnixListener::bind(socket).expect("a socket");
    let answer = |key: &str| match key {
        "/dynamic/instance-identity/document" => {
            Some(r#"{"instanceId": "i-0123456789abcdef0", "privateIp": "10.0.0.5"}"#)
        }
        "/user-data" => Some(USER_DATA),
        _ => None,
    };
    std::thread::spawn(move || {
        use std::io::{BufRead, BufReader, Write};
        for mut stream in listener.incoming().flatten() {
            let mut call = Vec::new();
            BufReader::new(stream.try_clone().expect("a stream")).read_until(0, &mut call).expect("a call");
            call.pop();
            let call: Value = serde_json::from_slice(&call).expect("JSON");
            assert_eq!(call["method"], "io.systemd.InstanceMetadata.Get");
            let reply = match answer(call["parameters"]["key"].as_str().expect("a key")) {
                Some(data) => {
                    let data = base64::engine::general_purpose::STANDARD.encode(data);
                    json!({"parameters": {"data": data, "interface": 2}})
                }
                None => json!({"error": "io.systemd.InstanceMetadata.KeyNotFound", "parameters": {}}),
            };
            stream.write_all(reply.to_string().as_bytes()).expect("the program reads");
            stream.write_all(&[0]).expect("the program reads");
        }
    });
}

#[test]
fn a_service_that_only_systemd_may_ask_is_asked_through_it() {
    let locked = |_: &Path| {
        own_network(&[]);
        ip(&format!("route add prohibit {LINK}"));
        Log::default()
    };
    play(vec![
        row("16: only systemd may ask, and it does not", s::EC2, locked, 77)
            .says("EACCES")
            .says("systemd.imds.network=unlocked")
            .takes(0, 40),
        row("16: only systemd may ask, and what it cannot ask for", s::OPENSTACK, locked, 77).says("systemd-imdsd"),
        row(
            "16: only systemd may ask, and does",
            s::EC2,
            move |root| {
                imdsd(root);
                locked(root)
            },
            0,
        )
        .says("instance_id: i-0123456789abcdef0")
        .says("user_data.kind: cloud-config")
        .takes(0, 40),
    ]);
}
