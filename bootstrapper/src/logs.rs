//! Where this host's journal goes beside its own disk: the spec's `logs`, as systemd-journal-upload reads it.

use anyhow::Result;
use plan::logs::Logs;

use crate::paths::Paths;
use crate::secrets::Places;
use crate::sys::{fs, systemd};

/// What the unit of the image lets its process read, and nobody else: systemd.exec(5), `ImportCredential=`.
const STORE: &str = "/run/credstore";

/// Where that process finds them.
const HANDED: &str = "/run/credentials/systemd-journal-upload.service";

/// journal-upload.conf(5); `/run` so that a boot without `logs` sends nothing.
const SETTINGS: &str = "/run/systemd/journal-upload.conf.d/50-etcd-bootstrapper.conf";

/// Debian's.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Lets systemd send the journal there, from its beginning or from where it was sent before.
///
/// # Errors
/// When a certificate or the key is not where `logs` says, a file cannot be written, or systemd refuses.
pub async fn send(paths: &Paths, logs: &Logs) -> Result<()> {
    let store = paths.host(STORE);
    fs::create_dir(&store, 0o700, None)?;
    for (name, source, private) in logs.files() {
        let text = Places::of(paths).read(source, &format!("logs.{name}"), private)?;
        fs::write_atomic(&store.join(file(name)), text.reveal().as_bytes(), 0o600, None)?;
    }
    let path = paths.host(SETTINGS);
    fs::create_dir(path.parent().unwrap_or(&path), 0o755, None)?;
    fs::write_atomic(&path, settings(logs).as_bytes(), 0o644, None)?;
    if systemd::is_here() { systemd::restart_upload().await } else { Ok(()) }
}

fn file(name: &str) -> String {
    format!("journal-upload.{name}")
}

/// `-` is none: without the word it looks for a key where there is none.
fn settings(logs: &Logs) -> String {
    let handed = |name: &str| format!("{HANDED}/{}", file(name));
    let ca = logs.ca.as_ref().map_or_else(|| AUTHORITIES.to_owned(), |_| handed("ca"));
    let [cert, key] = ["cert", "key"].map(|name| logs.key.as_ref().map_or_else(|| "-".to_owned(), |_| handed(name)));
    format!(
        "[Upload]\nURL={}\nTrustedCertificateFile={ca}\nServerCertificateFile={cert}\nServerKeyFile={key}\n",
        logs.upload
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use plan::source::Source;
    use plan::spec::Secret;

    use super::*;

    fn logs() -> Logs {
        Logs { upload: "https://logs.example.com".into(), ca: None, cert: None, key: None }
    }

    #[tokio::test]
    async fn what_is_private_is_for_the_unit_alone() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::under(root.path());
        let pem = |text: &str| Some(Source::Inline(Secret::new(text.into())));
        let told = Logs { ca: pem("the CA"), cert: pem("a certificate"), key: pem("its key"), ..logs() };
        send(&paths, &told).await.unwrap();
        for (name, expected) in [("ca", "the CA"), ("cert", "a certificate"), ("key", "its key")] {
            let path = paths.host(STORE).join(file(name));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
        let text = std::fs::read_to_string(paths.host(SETTINGS)).unwrap();
        let expected = "[Upload]\nURL=https://logs.example.com\n\
            TrustedCertificateFile=/run/credentials/systemd-journal-upload.service/journal-upload.ca\n\
            ServerCertificateFile=/run/credentials/systemd-journal-upload.service/journal-upload.cert\n\
            ServerKeyFile=/run/credentials/systemd-journal-upload.service/journal-upload.key\n";
        assert_eq!(text, expected);
    }

    #[tokio::test]
    async fn without_any_certificate_the_image_s_authorities_are_believed() {
        let expected = "[Upload]\nURL=https://logs.example.com\nTrustedCertificateFile=/etc/ssl/certs/ca-certificates.crt\n\
            ServerCertificateFile=-\nServerKeyFile=-\n";
        assert_eq!(settings(&logs()), expected);
        let root = tempfile::tempdir().unwrap();
        let told = Logs { ca: Some(Source::File { file: "/etc/ca.crt".into() }), ..logs() };
        let error = send(&Paths::under(root.path()), &told).await.unwrap_err();
        assert!(format!("{error:#}").starts_with("logs.ca: there is no "), "{error:#}");
        assert!(!root.path().join("run/systemd").exists());
    }
}
