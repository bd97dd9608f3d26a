//! `logs:` — where the journal of a host goes, beside its own disk.

use serde::Deserialize;

use crate::member::is_name_or_address;
use crate::source::{Source, misplaced};
use crate::spec::Problem;

/// `logs:`; without it, the journal stays on the host.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// Where a systemd-journal-remote answers, `https://HOST` or `https://HOST:PORT`; port 19532 without one.
    pub upload: String,
    /// Who has signed its certificate, in PEM; the image's own authorities without it.
    #[serde(default)]
    pub ca: Option<Source>,
    /// What it is shown, in PEM; only with `key`.
    #[serde(default)]
    pub cert: Option<Source>,
    /// Its private key, in PEM; only with `cert`.
    #[serde(default)]
    pub key: Option<Source>,
}

impl Logs {
    /// What of it lies in a file, and whether that is private.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &Source, bool)> {
        let all = [("ca", &self.ca, false), ("cert", &self.cert, false), ("key", &self.key, true)];
        all.into_iter().filter_map(|(name, source, private)| source.as_ref().map(|source| (name, source, private)))
    }
}

/// What nobody could send to, or be believed by.
pub(crate) fn check(logs: &Logs) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |path: &str, message: String| problems.push(Problem { path: format!("logs.{path}"), message });
    if let Some(why) = bad_receiver(&logs.upload) {
        add("upload", why);
    }
    match (&logs.cert, &logs.key) {
        (Some(_), None) => {
            add("key", "missing beside `logs.cert`: nobody can show a certificate without its key".into())
        }
        (None, Some(_)) => add("cert", "missing beside `logs.key`: a key is shown by its certificate".into()),
        (Some(_), Some(_)) | (None, None) => {}
    }
    for (name, source, _) in logs.files() {
        match source {
            Source::File { .. } | Source::Credential { .. } => {
                if let Some((key, why)) = misplaced(source) {
                    add(&format!("{name}.{key}"), why);
                }
            }
            // What lies elsewhere is fetched for what a host cannot be without: a log is not that.
            Source::Url(_) | Source::Kept(_) => {
                add(
                    name,
                    "it is not fetched from elsewhere: write the PEM text, {file: PATH} or {credential: NAME}".into(),
                );
            }
            // The text stays out of the message: it may be half a key.
            Source::Inline(text) if !text.reveal().contains("-----BEGIN ") => {
                add(
                    name,
                    "this text is not PEM, which has a line -----BEGIN …-----: write {file: PATH} for a file".into(),
                );
            }
            Source::Inline(_) => {}
        }
    }
    problems
}

fn bad_receiver(url: &str) -> Option<String> {
    if url.starts_with("http://") {
        return Some("it is http, over which anybody on the way can read the journal: use https".into());
    }
    let parse = || {
        let rest = url.strip_prefix("https://")?;
        let (host, port) = match rest.strip_prefix('[') {
            Some(v6) => v6.split_once(']').filter(|(host, _)| host.contains(':'))?,
            None => rest.split_at(rest.find(':').unwrap_or(rest.len())),
        };
        let digits = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0);
        let port = port.is_empty() || port.strip_prefix(':').is_some_and(digits);
        (is_name_or_address(host) && port).then_some(())
    };
    parse().is_none().then(|| {
        format!("{url:?} is not where a systemd-journal-remote answers: write https://HOST or https://HOST:PORT, without a path")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_is_a_host_and_perhaps_a_port() {
        for url in ["https://logs.example.com", "https://logs:19532", "https://10.0.0.9:443", "https://[fd00::9]:19532"]
        {
            assert_eq!(bad_receiver(url), None, "{url}");
        }
        let mut others =
            vec!["", "logs.example.com", "https://", "https://logs/", "https://logs:0", "https://logs:65536"];
        others.extend([
            "https://logs:+1",
            "https://a b",
            "https://[fd00::9",
            "https://[logs]",
            "https://u@logs",
            "http://logs",
        ]);
        for url in others {
            assert!(bad_receiver(url).is_some(), "{url}");
        }
    }
}
