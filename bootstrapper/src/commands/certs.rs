//! `certs show` and `certs renew`: this host's certificates.

use std::time::Duration;

use anyhow::Result;
use lexopt::prelude::*;
use plan::document::Tls;
use plan::facts::Seconds;
use plan::spec::Timestamp;
use serde::Serialize;

use crate::apply::journal::Journal;
use crate::exit::Exit;
use crate::metadata;
use crate::paths::Paths;
use crate::secrets::Near;
use crate::sys::clock;
use crate::sys::output::say;
use crate::tls::{self, CaMaterial, LEAVES};

/// For how long another etcd-bootstrapper is waited for; the timer comes again.
const LOCK: Duration = Duration::from_secs(60);

const USAGE: &str = "\
usage: etcd-bootstrapper certs renew [--json]   renew what is past two thirds of its life; a systemd timer runs this
       etcd-bootstrapper certs show [--json]    what is there, until when, for which names";

enum Action {
    Show,
    Renew,
}

/// Runs `certs`; the parser stands behind that word.
///
/// # Errors
/// 64 for a command line that cannot be understood, 75 when the CA cannot be used, whether something is due or not, or
/// when another etcd-bootstrapper is at work here for a minute,
/// 78 when `show` finds a certificate that cannot be used.
pub async fn run(paths: &Paths, mut args: lexopt::Parser) -> Result<()> {
    let usage = |why: String| Exit::Usage.because(format!("{why}\n{USAGE}"));
    let (mut action, mut json) = (None, false);
    while let Some(arg) = args.next().map_err(|e| usage(e.to_string()))? {
        match arg {
            Long("json") => json = true,
            Short('h') | Long("help") => return say(USAGE),
            Value(word) if word == "show" && action.is_none() => action = Some(Action::Show),
            Value(word) if word == "renew" && action.is_none() => action = Some(Action::Renew),
            other => return Err(usage(other.unexpected().to_string())),
        }
    }
    match action {
        Some(Action::Show) => show(paths, json),
        Some(Action::Renew) => renew(paths, json, LOCK).await,
        None => Err(usage("say what to do with the certificates".into())),
    }
}

#[derive(Serialize)]
struct Renewed {
    issued: Vec<Issued>,
    first_end: Option<Timestamp>,
    next_due: Option<Timestamp>,
    warning: Option<String>,
}

#[derive(Serialize)]
struct Issued {
    leaf: &'static str,
    because: String,
}

async fn renew(paths: &Paths, json: bool, patience: Duration) -> Result<()> {
    let now = clock::known();
    if tls::names(paths)?.is_none() && !paths.pki().join("server.crt").exists() {
        // The timer may run before the first boot has come this far.
        return say(if json { "{}" } else { "no certificates here yet: etcd-bootstrapper.service makes them" });
    }
    // `run` writes the same files.
    let mut last = String::new();
    let waiting = |who: &str| {
        if last != who {
            tracing::info!("{who}");
            last = who.to_owned();
        }
    };
    let ca = ca_of_today(paths, now).await;
    let _lock = Journal::of(paths).lock_within(patience, waiting).await?;
    let outcome = tls::renew(paths, ca, now)?;
    let warning = now.and_then(|now| tls::stored(paths, Some(now)).ok()?.warning(now));
    let renewed = Renewed {
        issued: outcome.issued.into_iter().map(|(leaf, because)| Issued { leaf, because }).collect(),
        first_end: outcome.first_end.map(Timestamp),
        next_due: outcome.next_due.map(Timestamp),
        warning,
    };
    if json {
        return say(&serde_json::to_string(&renewed)?);
    }
    say(&told(&renewed, now.is_some()))
}

/// The CA as it is kept elsewhere today, where the configuration says so; whoever does not give it is done without.
async fn ca_of_today(paths: &Paths, now: Option<Seconds>) -> Option<CaMaterial> {
    let tls = metadata::remembered(paths).ok().flatten()?.host.tls;
    let ca = match Near::once(paths).ca(&tls.ca).await {
        Ok(ca) => tls::load(&Tls { ca: ca?, ..tls }, paths, now),
        Err(error) => Err(error),
    };
    ca.inspect_err(|error| tracing::warn!("going on with the CA that this data disk keeps: {error:#}")).ok()
}

fn told(renewed: &Renewed, clock_known: bool) -> String {
    let mut text = String::new();
    for Issued { leaf, because } in &renewed.issued {
        text.push_str(&format!("renewed {leaf}.crt: {because}\n"));
    }
    text.push_str(if !clock_known {
        "nothing is renewed for its age, as this host's clock is not set\n"
    } else if renewed.issued.is_empty() {
        "nothing is due\n"
    } else {
        "etcd takes the new certificates for its next connections by itself\n"
    });
    if let (Some(end), Some(due)) = (&renewed.first_end, &renewed.next_due) {
        text.push_str(&format!("the first certificate ends on {end}; renewal is due on {due}\n"));
    }
    if let Some(warning) = &renewed.warning {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text
}

#[derive(Serialize)]
struct Row {
    file: &'static str,
    subject: String,
    issuer: String,
    not_before: Timestamp,
    not_after: Timestamp,
    names: Vec<String>,
}

#[derive(Serialize)]
struct Shown {
    certificates: Vec<Row>,
    problem: Option<String>,
}

fn show(paths: &Paths, json: bool) -> Result<()> {
    let rows: Vec<Row> = LEAVES
        .iter()
        .filter_map(|leaf| {
            let c = tls::read_certificate(&paths.pki(), leaf).ok()?;
            let (not_before, not_after) = (Timestamp(c.not_before), Timestamp(c.not_after));
            let names = c.sans.into_iter().collect();
            Some(Row { file: leaf.file, subject: c.subject, issuer: c.issuer, not_before, not_after, names })
        })
        .collect();
    let now = clock::known();
    let shown = Shown { certificates: rows, problem: tls::certificates_problem(paths, now) };
    say(&if json { serde_json::to_string(&shown)? } else { table(&shown.certificates, now) })?;
    match shown.problem {
        Some(problem) => Err(Exit::Refused.because(problem)),
        None => Ok(()),
    }
}

fn table(rows: &[Row], now: Option<Seconds>) -> String {
    let mut text = format!("{:<7} {:<30} {:<21} {:<10} {}\n", "FILE", "SUBJECT", "ENDS", "LEFT", "NAMES");
    for row in rows {
        let left = match now {
            None => "?".to_owned(),
            Some(now) if now > row.not_after.0 => "expired".to_owned(),
            Some(now) => match row.not_after.0.0 - now.0 {
                left if left >= 48 * 3600 => format!("{} days", left / 86400),
                left => format!("{} hours", left / 3600),
            },
        };
        let (file, subject, end) = (row.file, &row.subject, row.not_after.to_string());
        text.push_str(format!("{file:<7} {subject:<30} {end:<21} {left:<10} {}", row.names.join(" ")).trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs;
    use crate::tls::tests::{DAY, NOW, Scratch, YEAR, ca, names};

    async fn certs(scratch: &Scratch, words: &str) -> Result<()> {
        run(&scratch.paths(), lexopt::Parser::from_args(words.split_whitespace())).await
    }

    #[tokio::test]
    async fn a_command_line_that_says_nothing_known_ends_with_64() {
        let scratch = Scratch::new();
        for words in ["", "rotate", "show renew", "renew --force", "show show"] {
            let error = certs(&scratch, words).await.expect_err(words);
            assert_eq!(Exit::of(&error), Exit::Usage, "{words}: {error}");
            assert!(error.to_string().ends_with(USAGE), "{words}: {error}");
        }
    }

    #[tokio::test]
    async fn before_the_first_boot_there_is_nothing_to_renew_and_nothing_good_to_show() {
        let scratch = Scratch::new();
        certs(&scratch, "renew").await.expect("nothing to do");
        let error = certs(&scratch, "show").await.expect_err("nothing there");
        assert_eq!(Exit::of(&error), Exit::Refused);
        assert!(error.to_string().ends_with("/pki/ca.crt: it is missing"), "{error}");
    }

    #[tokio::test]
    async fn renewal_makes_what_is_due_and_show_is_content_then() {
        let (scratch, now) = (Scratch::new(), clock::now());
        let old = Seconds(now.0 - 300 * DAY);
        tls::ensure(&scratch.paths(), &ca("ca", now), &names(), Some(old), None).expect("leaves");
        let end = |leaf| tls::read_certificate(&scratch.paths().pki(), leaf).expect("a leaf").not_after;
        assert!(LEAVES.iter().all(|leaf| end(leaf).0 == old.0 + YEAR));
        certs(&scratch, "renew").await.expect("renewal");
        assert!(LEAVES.iter().all(|leaf| end(leaf).0 >= now.0 + YEAR));
        certs(&scratch, "show --json").await.expect("all good");
        fs::remove(&scratch.paths().pki().join("ca.key")).expect("gone");
        assert_eq!(Exit::of(&certs(&scratch, "renew --json").await.expect_err("no CA")), Exit::TryAgain);
    }

    #[tokio::test]
    async fn renewal_waits_for_whoever_is_at_work_and_names_it_when_that_takes_too_long() {
        let (scratch, now) = (Scratch::new(), clock::now());
        let old = Seconds(now.0 - 300 * DAY);
        tls::ensure(&scratch.paths(), &ca("ca", now), &names(), Some(old), None).expect("leaves");
        let end = || tls::read_certificate(&scratch.paths().pki(), &LEAVES[0]).expect("a leaf").not_after;
        let lock = Journal::of(&scratch.paths()).lock().expect("nobody is at work");
        let error = renew(&scratch.paths(), false, Duration::ZERO).await.expect_err("this test is at work");
        assert_eq!(Exit::of(&error), Exit::TryAgain);
        let holder = format!("process {} (", std::process::id());
        assert!(error.to_string().starts_with(&holder) && error.to_string().contains("/bootstrapper/lock"), "{error}");
        assert_eq!(end().0, old.0 + YEAR, "nothing was written");
        let (renewed, ()) = tokio::join!(certs(&scratch, "renew"), async {
            tokio::task::yield_now().await;
            drop(lock);
        });
        renewed.expect("renewal");
        assert!(end().0 >= now.0 + YEAR);
    }

    #[test]
    fn the_table_says_how_long_is_left() {
        let row = |not_after| Row {
            file: "server",
            subject: "CN=etcd-1".into(),
            issuer: "CN=ca".into(),
            not_before: Timestamp(NOW),
            not_after: Timestamp(Seconds(not_after)),
            names: vec!["10.0.0.11".into(), "localhost".into()],
        };
        let text = table(&[row(NOW.0 + YEAR), row(NOW.0 + 7200), row(NOW.0 - 1)], Some(NOW));
        assert_eq!(
            text,
            "FILE    SUBJECT                        ENDS                  LEFT       NAMES\n\
             server  CN=etcd-1                      2028-01-15T08:00:00Z  365 days   10.0.0.11 localhost\n\
             server  CN=etcd-1                      2027-01-15T10:00:00Z  2 hours    10.0.0.11 localhost\n\
             server  CN=etcd-1                      2027-01-15T07:59:59Z  expired    10.0.0.11 localhost\n"
        );
    }
}
