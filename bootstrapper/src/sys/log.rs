//! The log: in systemd's journal an entry with etcd's terms as fields and a copy on the consoles, elsewhere a line on
//! standard error.

use std::fmt::{Debug, Write as _};
use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::console::Consoles;
use super::{clock, env};

/// Where journald takes entries in its native protocol (systemd: docs/JOURNAL_NATIVE_PROTOCOL.md).
const SOCKET: &str = "/run/systemd/journal/socket";

/// Names the kernel's list of consoles, each of which shows a copy of what goes to the journal; set by the units that a person
/// before the machine follows.
const CONSOLES: &str = "ETCD_BOOTSTRAPPER_CONSOLES";

const NAME: &str = "etcd-bootstrapper";

static SINK: OnceLock<Sink> = OnceLock::new();

/// Starts the log, of `tracing`'s events too: at level info, at debug with `ETCD_BOOTSTRAPPER_DEBUG`.
pub fn start() {
    let max = if env::var("ETCD_BOOTSTRAPPER_DEBUG").is_some() { Level::DEBUG } else { Level::INFO };
    if SINK.set(Sink::of_this_process()).is_ok() {
        // Fails only where a test has a subscriber of its own.
        let _ = tracing::subscriber::set_global_default(Events { max });
    }
}

/// Logs a text of one or more lines with fields of the journal, such as `("ETCD_ROW", "14")`.
pub fn log(level: Level, text: &str, fields: &[(&str, String)]) {
    if let Some(sink) = SINK.get() {
        sink.log(level, text, fields);
    }
}

/// The last words of a command that failed: in the journal an entry, elsewhere what any program says.
pub fn last_words(text: &str) {
    match SINK.get() {
        Some(sink) if sink.journal.is_some() => sink.log(Level::ERROR, text, &[]),
        Some(_) | None => super::output::complain(&format!("{NAME}: {text}")),
    }
}

struct Sink {
    journal: Option<UnixDatagram>,
    consoles: Option<Consoles>,
    stamped: bool,
}

impl Sink {
    fn of_this_process() -> Sink {
        // The variable is inherited by what writes elsewhere, so it counts only when it names our standard error.
        let ours = |stream: &String| {
            std::fs::metadata("/proc/self/fd/2").is_ok_and(|meta| *stream == format!("{}:{}", meta.dev(), meta.ino()))
        };
        let stream = env::var("JOURNAL_STREAM").filter(ours);
        let journal = stream.as_ref().and_then(|_| connect(Path::new(SOCKET)).ok());
        let consoles = env::var(CONSOLES).map(|list| Consoles::listed(Path::new(&list), Path::new("/dev")));
        Sink { journal, consoles, stamped: stream.is_none() && !io::stderr().is_terminal() }
    }

    fn log(&self, level: Level, text: &str, fields: &[(&str, String)]) {
        let sent = self.journal.as_ref().is_some_and(|journal| journal.send(&entry(level, text, fields)).is_ok());
        if !sent {
            let time = if self.stamped { format!("{} ", plan::spec::Timestamp(clock::now())) } else { String::new() };
            super::output::complain(&format!("{time}{level:>5} {text}"));
        } else if let Some(consoles) = &self.consoles {
            // systemd's own `journal+console` knows the last of them alone.
            consoles.show(&for_console(level, text));
        }
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(Duration::from_secs(1)))?;
    Ok(socket)
}

fn entry(level: Level, text: &str, fields: &[(&str, String)]) -> Vec<u8> {
    let priority = match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    };
    let mut entry = Vec::new();
    let all = [("PRIORITY", priority), ("SYSLOG_IDENTIFIER", NAME), ("MESSAGE", text)];
    for (key, value) in all.into_iter().chain(fields.iter().map(|(key, value)| (*key, value.as_str()))) {
        entry.extend_from_slice(key.as_bytes());
        if value.contains('\n') {
            entry.push(b'\n');
            entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            entry.push(b'=');
        }
        entry.extend_from_slice(value.as_bytes());
        entry.push(b'\n');
    }
    entry
}

/// Each line as journald would forward it.
fn for_console(level: Level, text: &str) -> String {
    let (up, process) = (clock::since_boot().as_secs_f64(), std::process::id());
    let text = format!("{level:>5} {text}");
    text.lines().map(|line| format!("[{up:>12.6}] {NAME}[{process}]: {line}\n")).collect()
}

/// Takes the events of `tracing`, of our crates and of others; spans are not used.
struct Events {
    max: Level,
}

impl Subscriber for Events {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.max
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.max))
    }

    fn event(&self, event: &Event<'_>) {
        let mut said = Said::default();
        event.record(&mut said);
        let fields: Vec<(&str, String)> =
            said.fields.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        log(*event.metadata().level(), &format!("{}{}", said.message, said.rest), &fields);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// An event's message, the fields named `etcd_…` for the journal, and the rest for the end of the line.
#[derive(Default)]
struct Said {
    message: String,
    fields: Vec<(String, String)>,
    rest: String,
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name if name.starts_with("etcd_") => {
                self.fields.push((name.to_ascii_uppercase(), format!("{value:?}")));
            }
            name => {
                let _ = write!(self.rest, " {name}={value:?}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_its_fields_and_each_console_the_text_line_by_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let (socket, list) = (dir.path().join("socket"), dir.path().join("active"));
        let journald = UnixDatagram::bind(&socket).expect("a socket");
        std::fs::write(&list, "tty0 ttyS0\n").expect("a list");
        let consoles = ["tty0", "ttyS0"].map(|name| dir.path().join(name));
        for console in &consoles {
            std::fs::write(console, "").expect("a console");
        }
        let listed = Some(Consoles::listed(&list, dir.path()));
        let sink = Sink { journal: connect(&socket).ok(), consoles: listed, stamped: false };
        let fields = [("ETCD_ROW", "14".to_owned()), ("ETCD_PEER", "etcd-2".into()), ("ETCD_PEER", "etcd-3".into())];
        sink.log(Level::WARN, "replace (row 14)\n  1. remove a1", &fields);

        let mut bytes = [0; 512];
        let length = journald.recv(&mut bytes).expect("an entry");
        let expected = b"PRIORITY=4\nSYSLOG_IDENTIFIER=etcd-bootstrapper\nMESSAGE\n\x1f\0\0\0\0\0\0\0\
            replace (row 14)\n  1. remove a1\nETCD_ROW=14\nETCD_PEER=etcd-2\nETCD_PEER=etcd-3\n";
        assert_eq!(String::from_utf8_lossy(&bytes[..length]), String::from_utf8_lossy(expected));
        for console in &consoles {
            let shown = std::fs::read_to_string(console).expect("a console");
            let lines: Vec<&str> =
                shown.lines().filter_map(|line| line.split_once("]: ")).map(|(_, text)| text).collect();
            assert_eq!(lines, [" WARN replace (row 14)", "  1. remove a1"]);
            assert!(shown.contains(&format!("] etcd-bootstrapper[{}]: ", std::process::id())), "{shown}");
        }
    }

    #[test]
    fn fields_of_etcd_s_terms_are_the_journal_s_and_the_others_end_the_line() {
        #[derive(Clone, Default)]
        struct Kept(std::sync::Arc<std::sync::Mutex<Said>>);
        impl Subscriber for Kept {
            fn enabled(&self, _: &Metadata<'_>) -> bool {
                true
            }
            fn event(&self, event: &Event<'_>) {
                event.record(&mut *self.0.lock().expect("a lock"));
            }
            fn new_span(&self, _: &Attributes<'_>) -> Id {
                Id::from_u64(1)
            }
            fn record(&self, _: &Id, _: &Record<'_>) {}
            fn record_follows_from(&self, _: &Id, _: &Id) {}
            fn enter(&self, _: &Id) {}
            fn exit(&self, _: &Id) {}
        }
        let kept = Kept::default();
        tracing::subscriber::with_default(kept.clone(), || {
            tracing::info!(etcd_member_id = %"a1", tries = 3, "added {}", "etcd-1");
        });
        let said = kept.0.lock().expect("a lock");
        assert_eq!((said.message.as_str(), said.rest.as_str()), ("added etcd-1", " tries=3"));
        assert_eq!(said.fields, [("ETCD_MEMBER_ID".to_owned(), "a1".to_owned())]);
    }
}
