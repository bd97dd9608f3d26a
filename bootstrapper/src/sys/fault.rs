//! Deaths on demand, for the crash matrix: at any journal record, before any fsync, and around any write of the claim. Only
//! in programs built with the feature `fault-injection`, which no image is.
//!
//! `ETCD_BOOTSTRAPPER_FAULT` says what is to happen: `note:FILE` writes down every point that is passed, `die:N` ends
//! the process at the N-th as SIGKILL would, `lose:N` does so after taking back what the disk need not have kept, and
//! `at:TEXT` ends it at the first whose name begins with the text.

#[cfg(feature = "fault-injection")]
pub use on::{after, before, before_sync};

/// The moment before a file or a directory becomes durable; the first `durable` bytes of it are already.
#[cfg(not(feature = "fault-injection"))]
#[inline]
pub fn before_sync(_path: &std::path::Path, _file: &std::fs::File, _durable: u64) {}

/// The moment before something of this name is done to what outlives this host.
#[cfg(not(feature = "fault-injection"))]
#[inline]
pub fn before(_what: &str) {}

/// The moment after something of this name became durable.
#[cfg(not(feature = "fault-injection"))]
#[inline]
pub fn after(_what: &str) {}

#[cfg(feature = "fault-injection")]
mod on {
    use std::fs::{File, OpenOptions};
    use std::io::Write;
    use std::path::Path;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    enum Fault {
        Note(String),
        Die(u32),
        Lose(u32),
        At(String),
    }

    static FAULT: OnceLock<Option<Fault>> = OnceLock::new();
    static PASSED: AtomicU32 = AtomicU32::new(0);

    fn fault() -> Option<&'static Fault> {
        FAULT.get_or_init(|| parse(&crate::sys::env::var("ETCD_BOOTSTRAPPER_FAULT")?)).as_ref()
    }

    fn parse(text: &str) -> Option<Fault> {
        match text.split_once(':')? {
            ("note", file) => Some(Fault::Note(file.to_owned())),
            ("die", number) => number.parse().ok().map(Fault::Die),
            ("lose", number) => number.parse().ok().map(Fault::Lose),
            ("at", text) => Some(Fault::At(text.to_owned())),
            _ => None,
        }
    }

    /// The moment before a file or a directory becomes durable; the first `durable` bytes of it are already.
    ///
    /// What lies in /run is gone after a power loss anyway, and is written again and again by a host that waits.
    pub fn before_sync(path: &Path, file: &File, durable: u64) {
        if path.components().any(|c| c.as_os_str() == "run") {
            return;
        }
        let lose = || {
            let written = file.metadata().map_or(0, |m| if m.is_file() { m.len() } else { 0 });
            if written > durable {
                // A disk may keep a part of it.
                let _dying_anyway = file.set_len(durable + (written - durable) / 2);
            }
        };
        reached(&format!("before the fsync of {}", path.display()), lose);
    }

    /// The moment before something of this name is done to what outlives this host.
    pub fn before(what: &str) {
        reached(&format!("before {what}"), || {});
    }

    /// The moment after something of this name became durable.
    pub fn after(what: &str) {
        reached(&format!("after {what}"), || {});
    }

    fn reached(point: &str, lose: impl FnOnce()) {
        let Some(fault) = fault() else { return };
        let number = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
        match fault {
            Fault::Note(file) => {
                let note = OpenOptions::new().create(true).append(true).open(file);
                let _for_the_test = note.and_then(|mut f| writeln!(f, "{point}"));
            }
            Fault::Die(at) if *at == number => die(point),
            Fault::Lose(at) if *at == number => {
                lose();
                die(point);
            }
            Fault::At(text) if point.starts_with(text.as_str()) => die(point),
            Fault::Die(_) | Fault::Lose(_) | Fault::At(_) => {}
        }
    }

    fn die(point: &str) {
        tracing::error!("fault injection: dying {point}");
        std::process::abort();
    }
}
