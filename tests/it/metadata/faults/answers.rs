//! What the service answers: late, busy, without its token, in another's place, or not whole.

use super::*;

#[test]
fn a_service_that_is_late_or_busy_is_asked_again() {
    play(vec![
        row(
            "1: a request is answered after 8 s",
            s::EC2,
            at_link(ec2_but(|a| {
                (a.number == 0).then(|| Reply::new(200, "late").how(How::Late(Duration::from_secs(8))))
            })),
            0,
        )
        .takes(50, 130)
        .says("no whole answer within 5 s"),
        row(
            "2: the service comes late",
            s::EC2,
            |_| {
                own_network(&[LINK]);
                let (sender, receiver) = mpsc::channel();
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_secs(3));
                    let _gone = sender.send(listen(LINK, Ec2::with(USER_DATA).serve()));
                });
                // Dropped with the row; the thread holds the listener.
                drop(receiver);
                Log::default()
            },
            0,
        )
        .takes(25, 60)
        .says("Connection refused"),
        row(
            "3: 503 with Retry-After",
            s::EC2,
            at_link(ec2_but(|a| (a.number == 1).then(|| Reply::new(503, "").with("Retry-After", "2")))),
            0,
        )
        .takes(20, 70)
        .says("answered 503"),
        row(
            "3: 503 with Retry-After that is neither a number nor a date",
            s::EC2,
            at_link(ec2_but(|a| (a.number == 1).then(|| Reply::new(503, "").with("Retry-After", "soon")))),
            0,
        )
        .takes(10, 60),
        row(
            "3: 503 with Retry-After of an hour",
            s::EC2,
            at_link(ec2_but(|_| Some(Reply::new(503, "").with("Retry-After", "3600")))),
            75,
        )
        .patience("2s")
        .takes(20, 70),
        row("4: 429", s::EC2, at_link(ec2_but(|a| (a.number == 0).then(|| Reply::new(429, "")))), 0).takes(7, 70),
        row(
            "5: Azure is being updated",
            s::AZURE,
            |_| {
                own_network(&[LINK]);
                let azure = s::azure(USER_DATA, "2025-04-07");
                listen(
                    LINK,
                    service(move |a| match a.number {
                        0 => Reply::new(410, ""),
                        1 => Reply::new(404, ""),
                        _ => azure(a),
                    }),
                )
            },
            0,
        ),
        row("5: and 410 of others stays", s::EC2, at_link(ec2_but(|_| Some(Reply::new(410, "")))), 69).says("410 Gone"),
        row("5: an Azure that knows only old versions", s::AZURE, at_link(s::azure(USER_DATA, "2019-06-01")), 0)
            .says("instance_id: 8f3a1c2d-11aa-22bb-8899-0123456789ab")
            .says("!user_data"),
    ]);
}

#[test]
fn a_token_is_taken_as_the_protocol_wants_it() {
    play(vec![
        row("6: 403 for a token", s::EC2, at_link(ec2_but(|_| Some(Reply::new(403, "")))), 69)
            .says("is disabled for this instance")
            .takes(0, 40),
        row(
            "7: the answer with the token never comes",
            s::EC2,
            at_link(ec2_but(|a| (a.method == "PUT").then(|| Reply::new(200, "").how(How::Never)))),
            75,
        )
        .patience("6s")
        .says("hop limit")
        .takes(60, 120),
        row(
            "7: the service is busy, and then the time is over while it is silent",
            s::EC2,
            at_link(ec2_but(|a| match a.number {
                0 => Some(Reply::new(503, "")),
                _ => Some(Reply::new(200, "").how(How::Never)),
            })),
            75,
        )
        .patience("3s")
        .says("within 3 s; the last try: PUT http://169.254.169.254/latest/api/token answered 503")
        .says("!hop limit")
        .takes(30, 80),
        row(
            "7: and IMDSv1 is allowed",
            s::EC2,
            at_link(ec2_but(|a| match a.method.as_str() {
                "PUT" => Some(Reply::new(200, "").how(How::Never)),
                _ => Some(Reply::new(
                    if a.path == DOCUMENT { 200 } else { 404 },
                    r#"{"instanceId": "i-0123456789abcdef0"}"#,
                )),
            })),
            0,
        )
        .files(&[("etc/etcd-bootstrapper/config.d/1.yaml", "metadata: {allow_imdsv1: true}\n")])
        .says("instance_id: i-0123456789abcdef0")
        .takes(50, 130),
        row("8: the token expires", s::EC2, at_link(Ec2 { uses: Some(2), ..Ec2::with(USER_DATA) }.serve()), 0),
        row("8: and the next one is refused too", s::EC2, at_link(Ec2 { uses: Some(0), ..Ec2::default() }.serve()), 69)
            .says("401"),
        row(
            "10: a token of two lines",
            s::EC2,
            at_link(ec2_but(|a| (a.method == "PUT").then(|| Reply::new(200, "CANARY\r\nX-Evil: 1")))),
            65,
        )
        .says("expected one line of printable ASCII"),
        row(
            "10: a token of a megabyte",
            s::EC2,
            at_link(ec2_but(|a| (a.method == "PUT").then(|| Reply::new(200, vec![b'a'; 1 << 20])))),
            65,
        )
        .says("more than 4096 bytes"),
    ]);
}

#[test]
fn whoever_answers_in_the_service_s_place_is_not_believed() {
    let rogue: Firmware = &[("sys_vendor", "Dell Inc.\n"), ("product_name", "PowerEdge\n")];
    let mismatch =
        |firmware: Firmware, service: Service| row("15: the firmware differs", firmware, at_link(service), 78);
    let html = "<!DOCTYPE html><title>Login CANARY</title>";
    let mut rows = vec![
        row(
            "11: redirected",
            s::EC2,
            at_link(ec2_but(|_| Some(Reply::new(302, "").with("Location", "https://portal.example/login?CANARY")))),
            69,
        )
        .says("302")
        .says("points to portal.example"),
        row(
            "11: redirected while the document is asked for",
            s::EC2,
            at_link(ec2_but(|a| (a.path == DOCUMENT).then(|| Reply::new(307, "").with("Location", "/elsewhere")))),
            69,
        )
        .says("points to another path"),
        row(
            "12: a login page for user-data",
            s::EC2,
            at_link(ec2_but(|a| {
                (a.path == "/latest/user-data").then(|| Reply::new(200, "<!DOCTYPE html><title>Login CANARY</title>"))
            })),
            0,
        )
        .says("user_data.kind: markup"),
        row("12: a login page for the document", s::OPENSTACK, at_link(service(move |_| Reply::new(200, html))), 65)
            .says("it begins `<!DOCTYPE html><titl`"),
        row("13: a proxy in the environment", s::EC2, at_link(Ec2::with(USER_DATA).serve()), 0).env(&[
            ("HTTP_PROXY", "http://192.0.2.1:3128"),
            ("http_proxy", "http://192.0.2.1:3128"),
            ("ALL_PROXY", "http://192.0.2.1:1"),
        ]),
        row("14: no Metadata-Flavor in the answer", s::GCE, at_link(service(|_| Reply::new(200, r#"{"id": 1}"#))), 78)
            .says("without the header Metadata-Flavor: Google"),
        row("30: a machine of no platform", rogue, at_link(Ec2::with(USER_DATA).serve()), 0)
            .says("none: no volume is labelled"),
        row("30: a machine of EC2's that is to ask nobody", s::EC2, at_link(Ec2::with(USER_DATA).serve()), 0)
            .files(&[("etc/etcd-bootstrapper/config.d/1.yaml", "metadata: {provider: none}\n")])
            .says("none: metadata.provider is none")
            .says("!instance_id"),
        row("30: somebody vouches for it", rogue, at_link(Ec2::with(USER_DATA).serve()), 0)
            .files(&[("proc/cmdline", "quiet etcd_bootstrapper.provider=ec2\n")])
            .says("instance_id: i-0123456789abcdef0"),
        row(
            "48: OpenStack without a uuid",
            s::OPENSTACK,
            at_link(service(|_| Reply::new(200, r#"{"name": "x"}"#))),
            65,
        )
        .says("gives no instance ID"),
        mismatch(
            &[("bios_vendor", "Amazon EC2\n"), ("board_asset_tag", "i-0fffffffffffffff0\n")],
            Ec2::with(USER_DATA).serve(),
        )
        .says("its firmware says i-0fffffffffffffff0"),
        mismatch(&[("sys_vendor", "Hetzner\n"), ("product_serial", "43\n")], s::hetzner(USER_DATA)),
        mismatch(&[("sys_vendor", "DigitalOcean\n"), ("product_serial", "43\n")], s::digitalocean(USER_DATA)),
        mismatch(&[("sys_vendor", "Vultr\n"), ("product_serial", "43\n")], s::vultr(USER_DATA)),
        mismatch(
            &[("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77\n"), ("product_uuid", "8f3a1c2d-0000\n")],
            s::azure(USER_DATA, "2025-04-07"),
        ),
    ];
    let rebuilt: Firmware = &[("product_name", "OpenStack Nova\n"), ("product_uuid", "00000000-1378\n")];
    let check = |text: &'static str| -> Firmware {
        match text {
            "off" => &[("etc/etcd-bootstrapper/config.d/1.yaml", "metadata: {cross_check: off}\n")],
            _ => &[("etc/etcd-bootstrapper/config.d/1.yaml", "metadata: {cross_check: enforce}\n")],
        }
    };
    let openstack = |exit| row("48: OpenStack has rebuilt it", rebuilt, at_link(s::openstack(USER_DATA)), exit);
    rows.push(openstack(0).says("its firmware says 00000000-1378"));
    rows.push(openstack(78).files(check("enforce")));
    rows.push(openstack(0).files(check("off")).says("!its firmware says"));
    play(rows);
}

#[test]
fn what_is_not_there_or_not_whole_is_told_from_what_is() {
    let user_data = |reply: fn() -> Reply| {
        let reply = service(move |_| reply());
        let ec2 = Ec2::with(USER_DATA).serve();
        at_link(service(move |a| if a.path == "/latest/user-data" { reply(a) } else { ec2(a) }))
    };
    let none = |fault, reply| row(fault, s::EC2, user_data(reply), 0).says("instance_id").says("!user_data");
    play(vec![
        none("23: user-data 404", || Reply::new(404, "not found")),
        none("23: user-data 204", || Reply::new(204, "")),
        none("23: user-data is empty", || Reply::new(200, "")),
        none("23: user-data is blank", || Reply::new(200, " \r\n\t\n")),
        row("24: user-data of two mebibytes", s::EC2, user_data(|| Reply::new(200, vec![b'#'; 2 << 20])), 65)
            .says("more than 1048576 bytes"),
        row(
            "24: chunks without an end",
            s::EC2,
            user_data(|| Reply::new(200, vec![b'#'; 65536]).how(How::Endless)),
            65,
        )
        .says("more than 1048576 bytes"),
        row(
            "24: a length that lies",
            s::EC2,
            user_data(|| Reply::new(200, "#cloud-config\n").with("Content-Length", "9000").how(How::Whole)),
            75,
        )
        .patience("7s")
        .takes(70, 150),
        row(
            "63: a tag with a value of 256 characters",
            s::EC2,
            at_link(
                Ec2 {
                    tags: vec![
                        ("etcd-bootstrapper:member.name", "m".repeat(256)),
                        ("Etcd-Bootstrapper:mode", "x".into()),
                    ],
                    ..Ec2::default()
                }
                .serve(),
            ),
            0,
        )
        .says("mmmmmmmmmmm")
        .says("!Etcd-Bootstrapper:mode"),
        row("64: a header that drips", s::EC2, at_link(ec2_but(|_| Some(Reply::new(200, "").how(How::Drip)))), 75)
            .patience("6s")
            .takes(60, 120),
        row(
            "64: the connection breaks between two requests",
            s::EC2,
            at_link(ec2_but(|a| (a.number == 2).then(|| Reply::new(200, "").how(How::Reset)))),
            0,
        )
        .takes(0, 40),
    ]);
}
