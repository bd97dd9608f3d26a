//! Which CAs are taken, and what is said about the others.

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose};

use super::fixtures::{PKCS1_CERTIFICATE, PKCS1_KEY, SEC1_CERTIFICATE, SEC1_KEY};
use super::*;
use crate::exit::Exit;
use crate::tls::ca::load_with;
use crate::tls::load;

/// What a refusal says and how the program ends by it; tests compare both whole.
fn refusal(result: anyhow::Result<CaMaterial>) -> (Exit, String) {
    let error = result.err().expect("a refusal");
    (Exit::of(&error), format!("{error:#}"))
}

fn self_signed(is_ca: IsCa, usages: Vec<KeyUsagePurpose>) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "odd");
    params.is_ca = is_ca;
    params.key_usages = usages;
    (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
}

#[test]
fn every_form_in_which_people_bring_a_ca_is_taken_and_issues() {
    let (certificate, key) = ca_pem("ours", YEAR, NOW);
    let crlf = |text: &str| text.replace('\n', "\r\n");
    for (form, certificate, key) in [
        ("PKCS#8", certificate.clone(), key.clone()),
        ("CRLF", crlf(&certificate), crlf(&key)),
        ("text around it", format!("subject=CN = ours\n{certificate}\n"), format!("# key\n{key}")),
        ("SEC1", SEC1_CERTIFICATE.into(), SEC1_KEY.into()),
        (
            "SEC1 after its parameters",
            SEC1_CERTIFICATE.into(),
            format!("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{SEC1_KEY}"),
        ),
        ("PKCS#1", PKCS1_CERTIFICATE.into(), PKCS1_KEY.into()),
    ] {
        let scratch = Scratch::new();
        let ca = checked(&certificate, &key, Some(NOW)).unwrap_or_else(|e| panic!("{form}: {e:#}"));
        crate::tls::ensure(&scratch.paths(), &ca, &names(), Some(NOW), None)
            .unwrap_or_else(|e| panic!("{form}: {e:#}"));
        assert_eq!(crate::tls::certificates_problem(&scratch.paths(), Some(NOW)), None, "{form}");
    }
}

#[test]
fn a_certificate_or_key_that_cannot_be_used_is_refused_with_its_field_and_the_remedy() {
    let (good, key) = ca_pem("good", YEAR, NOW);
    let (other, other_key) = ca_pem("other", YEAR, NOW);
    let (leaf, leaf_key) = self_signed(IsCa::ExplicitNoCa, vec![]);
    let (idle, idle_key) = self_signed(IsCa::Ca(BasicConstraints::Unconstrained), vec![KeyUsagePurpose::CrlSign]);
    let broken = good.replacen("MII", "M!I", 1);
    let truncated = good.replace("-----END CERTIFICATE-----\n", "");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGj\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let strange = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    for (certificate, key, expected) in [
        ("", key.as_str(), "tls.ca.cert: is empty: it must hold PEM, which begins with -----BEGIN CERTIFICATE-----"),
        (
            "MIIB",
            &key,
            "tls.ca.cert: is not PEM: it must have a line -----BEGIN CERTIFICATE-----; DER is turned into PEM by `openssl x509` or `openssl pkey`",
        ),
        (
            &good.replace('\n', "\\n"),
            &key,
            "tls.ca.cert: has \\n in it instead of line breaks: in YAML, write it as a block after `|`, beginning with -----BEGIN CERTIFICATE-----",
        ),
        (&key, &good, "tls.ca.cert: holds a private key and no certificate: are the certificate and the key swapped?"),
        (&good, &good, "tls.ca.key: holds a certificate and no private key: are the certificate and the key swapped?"),
        (&good, "", "tls.ca.key: is empty: it must hold PEM, which begins with -----BEGIN PRIVATE KEY-----"),
        (
            &good,
            encrypted,
            "tls.ca.key: is encrypted, and at boot there is nobody to type a passphrase: write what `openssl pkey -in ENCRYPTED -out PLAIN` makes of it",
        ),
        (
            &good,
            legacy,
            "tls.ca.key: is encrypted, and at boot there is nobody to type a passphrase: write what `openssl pkey -in ENCRYPTED -out PLAIN` makes of it",
        ),
        (
            &good,
            strange,
            "tls.ca.key: is no key that this program can use: it takes ECDSA P-256 and P-384, Ed25519, and RSA of 2048 to 8192 bits; `openssl pkey -in KEY -text -noout` shows what it is",
        ),
        (
            &good,
            &other_key,
            "tls.ca.key: does not belong to the certificate (CN=good): give the key that was made with it; `openssl pkey -pubout` of the key and `openssl x509 -pubkey -noout` of the certificate must print the same",
        ),
        (
            &format!("{good}{other}"),
            &other_key,
            "tls.ca.key: belongs to the second certificate of the bundle, and the first one (CN=good) issues: swap the certificates or give the key of the first",
        ),
        (
            &format!("{good}{other}{good}"),
            &key,
            "tls.ca.cert: has 3 certificates: give the CA that issues, and one more while a CA is rotated",
        ),
        (
            &leaf,
            &leaf_key,
            "tls.ca.cert: (CN=odd) is not a CA, its basic constraints lack CA:TRUE: give the certificate that issues, not one that was issued",
        ),
        (
            &format!("{good}{leaf}"),
            &key,
            "tls.ca.cert: certificate 2 of 2 (CN=odd) is not a CA, its basic constraints lack CA:TRUE: give the certificate that issues, not one that was issued",
        ),
        (&idle, &idle_key, "tls.ca.cert: (CN=odd) must not issue: its key usage lacks keyCertSign"),
    ] {
        // Both can be read, and do not fit each other or the purpose.
        let unfit = ["belong", "is not a CA", "must not issue"].iter().any(|word| expected.contains(word));
        let exit = if unfit { Exit::Refused } else { Exit::BadInput };
        assert_eq!(refusal(checked(certificate, key, Some(NOW))), (exit, expected.to_owned()));
    }
    let damaged = "is damaged PEM: copy it again, from BEGIN to END, line by line";
    for certificate in [broken, truncated] {
        let refused = refusal(checked(&certificate, &key, Some(NOW)));
        assert_eq!(refused, (Exit::BadInput, format!("tls.ca.cert: {damaged}")));
    }
    let refused = refusal(checked(&good, &key.replace("-----END", "----END"), Some(NOW)));
    assert_eq!(refused, (Exit::BadInput, format!("tls.ca.key: {damaged}")));
}

#[test]
fn no_refusal_quotes_a_key() {
    let (good, key) = ca_pem("good", YEAR, NOW);
    let body = key.lines().nth(1).expect("a line of the key").to_owned();
    for bad in [
        key.replacen(&body[..8], "!!!!!!!!", 1),
        key.replace("END", "END "),
        key.replace(" PRIVATE", ""),
        key.replace('\n', " "),
    ] {
        for (certificate, key) in [(&good, &bad), (&bad, &key)] {
            let (_, message) = refusal(checked(certificate, key, Some(NOW)));
            assert!(!message.contains(&body[8..24]), "{message}");
            assert!(message.chars().filter(char::is_ascii_digit).count() < 20, "not as numbers either: {message}");
        }
    }
}

#[test]
fn a_ca_outside_its_time_is_told_with_both_dates() {
    let (certificate, key) = ca_pem("timed", YEAR, NOW);
    let late = Seconds(NOW.0 + YEAR + 1);
    assert_eq!(
        refusal(checked(&certificate, &key, Some(late))),
        (Exit::TryAgain, "tls.ca.cert: the CA (CN=timed) expired on 2028-01-15T08:00:00Z, and this host's clock says 2028-01-15T08:00:00Z: correct the clock if it is wrong, else make a new CA with `etcd-bootstrapper config new`".to_owned())
    );
    // Time can heal this one, so systemd starts the program again.
    let early = Seconds(NOW.0 - DAY - 1);
    assert_eq!(
        refusal(checked(&certificate, &key, Some(early))),
        (Exit::TryAgain, "tls.ca.cert: the CA (CN=timed) is not valid before 2027-01-14T08:00:00Z, and this host's clock says 2027-01-14T07:59:00Z: the clock is behind; set it or give the host a time source".to_owned())
    );
    assert!(checked(&certificate, &key, None).is_ok(), "an unknown clock is no reason");
    let (old, old_key) = ca_pem("old", YEAR, Seconds(1_500_000_000));
    let (exit, message) = refusal(checked(&old, &old_key, None));
    assert_eq!(exit, Exit::Refused);
    assert!(message.contains("expired on 2018-07-14T02:40:00Z, and this program was built on 20"), "{message}");
}

#[test]
fn a_ca_that_ends_soon_is_warned_about_with_the_way_out() {
    let (certificate, key) = ca_pem("timed", YEAR, NOW);
    let ca = checked(&certificate, &key, Some(NOW)).expect("a good CA");
    assert_eq!(ca.warning(NOW), None);
    let warning = ca.warning(Seconds(NOW.0 + YEAR - 89 * DAY)).expect("a warning");
    assert!(warning.starts_with("the CA ends on 2028-01-15T08:00:00Z"), "{warning}");
}

#[test]
fn values_come_from_files_and_credentials_below_the_root() {
    let scratch = Scratch::new();
    let (certificate, key) = ca_pem("filed", YEAR, NOW);
    let file = |path: &str| Source::File { file: path.to_owned() };
    fs::create_dir(&scratch.0.join("etc"), 0o700, None).expect("etc");
    fs::write_atomic(&scratch.0.join("etc/ca.crt"), certificate.as_bytes(), 0o644, None).expect("ca.crt");
    fs::write_atomic(&scratch.0.join("etc/ca.key"), key.as_bytes(), 0o600, None).expect("ca.key");
    let good = load(&tls(file("/etc/ca.crt"), file("/etc/ca.key")), &scratch.paths(), Some(NOW));
    assert!(good.is_ok(), "{:#}", good.err().expect("an error"));

    let root = scratch.0.display();
    for (cert, key, expected) in [
        (
            file("etc/ca.crt"),
            inline(&key),
            (Exit::BadInput, "tls.ca.cert: \"etc/ca.crt\" is not an absolute path".to_owned()),
        ),
        (
            file("/etc/none.crt"),
            inline(&key),
            (Exit::Unavailable, format!("tls.ca.cert: there is no {root}/etc/none.crt: put it there")),
        ),
        (
            inline(&certificate),
            file("/etc/none.key"),
            (Exit::Unavailable, format!("tls.ca.key: there is no {root}/etc/none.key: put it there")),
        ),
        (
            inline(&certificate),
            Source::Credential { credential: "../ca-key".into() },
            (
                Exit::BadInput,
                "tls.ca.key: \"../ca-key\" is not the name of a credential: it has no / and no leading dot".to_owned(),
            ),
        ),
    ] {
        assert_eq!(refusal(load(&tls(cert, key), &scratch.paths(), Some(NOW))), expected);
    }
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let scratch = Scratch::new();
    let (certificate, key) = ca_pem("filed", YEAR, NOW);
    let path = scratch.0.join("ca.key");
    for (mode, taken) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o660, false), (0o644, false)]
    {
        fs::write_atomic(&path, key.as_bytes(), mode, None).expect("ca.key");
        let source = Source::File { file: "/ca.key".into() };
        let result = load(&tls(inline(&certificate), source), &scratch.paths(), Some(NOW));
        if taken {
            assert!(result.is_ok(), "mode {mode:o}");
        } else {
            let path = path.display();
            let message = format!(
                "tls.ca.key: {path} has mode {mode:04o}, so others can use the key in it: run `chmod 0600 {path}`"
            );
            assert_eq!(refusal(result), (Exit::Permission, message));
        }
    }
}

#[test]
fn a_credential_is_taken_from_systemds_directory() {
    let scratch = Scratch::new();
    let (certificate, key) = ca_pem("delivered", YEAR, NOW);
    fs::write_atomic(&scratch.0.join("etcd-bootstrapper.ca-key"), key.as_bytes(), 0o440, None).expect("delivered");
    let source = |name: &str| Source::Credential { credential: name.to_owned() };
    let from = |name: &str, directory: Option<&std::path::Path>| {
        load_with(&tls(inline(&certificate), source(name)), &scratch.paths(), directory, Some(NOW))
    };
    assert!(from("etcd-bootstrapper.ca-key", Some(&scratch.0)).is_ok());
    for (name, directory) in [("other", Some(scratch.0.as_path())), ("other", None)] {
        let message = "tls.ca.key: the credential other was not delivered: give it to the machine as a system credential (SMBIOS, fw_cfg, the ESP) or put it into /etc/credstore, and boot; the image takes those whose name begins with etcd-bootstrapper.";
        assert_eq!(refusal(from(name, directory)), (Exit::Unavailable, message.to_owned()));
    }
}

#[test]
fn the_unit_imports_the_credential_that_config_new_names() {
    let unit = include_str!("../../../../image/rootfs/usr/lib/systemd/system/etcd-bootstrapper.service");
    assert!(unit.lines().any(|line| line == format!("ImportCredential={}*", crate::secrets::PREFIX)), "{unit}");
    assert!(crate::commands::config_new::CA_KEY_CREDENTIAL.starts_with(crate::secrets::PREFIX));
}

#[test]
fn a_ca_whose_carrier_is_gone_is_the_one_that_the_disk_keeps() {
    let scratch = Scratch::new();
    let (certificate, key) = ca_pem("kept", YEAR, NOW);
    let (other, _) = ca_pem("kept", YEAR, NOW);
    let gone = || Source::Credential { credential: "gone".into() };
    let file = || Source::File { file: "/gone".into() };
    let load = |cert, key| load_with(&tls(cert, key), &scratch.paths(), None, Some(NOW));
    assert_eq!(refusal(load(inline(&certificate), gone())).0, Exit::Unavailable, "nothing is kept yet");
    let first = load(inline(&certificate), inline(&key)).expect("a good CA");
    crate::tls::ensure(&scratch.paths(), &first, &names(), Some(NOW), None).expect("leaves");
    for (what, cert, key, trusted) in [
        ("key", inline(&certificate), gone(), Some(1)),
        ("both", file(), gone(), Some(1)),
        ("key, in a bundle that grew", inline(&format!("{certificate}{other}")), gone(), Some(2)),
        ("key, of another CA", inline(&other), gone(), None),
    ] {
        let loaded = load(cert, key);
        assert_eq!(loaded.as_ref().ok().map(|ca| ca.certificates.len()), trusted, "{what}");
        let exit = loaded.err().map(|error| Exit::of(&error));
        assert_eq!(exit, trusted.is_none().then_some(Exit::Unavailable), "{what}");
    }
}
