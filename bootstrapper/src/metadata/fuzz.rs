//! What reads configuration, as functions of any bytes. They end, and what they say must hold.

use hyper::StatusCode;
use tokio::runtime::{self, Runtime};
use tokio::task;

use super::fault::Fault;
use super::nocloud::{Form, Layout, Seed};
use super::platform::Machine;
use super::providers::{Manner, Provider};
use super::service::Service;
use super::yaml::{self, Dialect, Origin};
use super::{cloud_init, command_line, detect, document, mime, network, user_data, validate};
use crate::paths::Paths;

const SOURCE: &str = "anything";

/// User-data, however it is packed, and the documents in it; every second length of it as `config validate` does.
pub fn of_user_data(bytes: &[u8]) {
    if bytes.len().is_multiple_of(2) {
        match validate::validate(bytes, SOURCE) {
            Ok(validate::Verdict::Valid { spec, .. }) => drop(validate::summary(&spec)),
            Ok(validate::Verdict::Faults(faults)) => said_all(faults),
            Err(_) => {}
        }
        return;
    }
    match user_data::read(bytes, SOURCE) {
        Ok(found) => {
            for part in found.parts.iter().filter(|part| part.whole) {
                document::mean(&part.tree).map_err(said_all).ok();
            }
        }
        Err(fault) => said(&fault),
    }
}

/// A MIME message, whatever its head says it is.
pub fn of_mime(bytes: &[u8]) {
    mime::is(bytes);
    for part in mime::parts(bytes).into_iter().flatten() {
        part.content.map(drop).ok();
    }
}

/// What a platform's metadata service answers: a byte that says whose it is, then the answers with a zero byte between
/// them, each a byte for its status and the body.
pub fn of_platform(bytes: &[u8]) {
    if let Some(machine) = machine(bytes) {
        machine.content().map(drop).ok();
    }
}

fn machine(bytes: &[u8]) -> Option<Machine> {
    let (of, rest) = bytes.split_first()?;
    let provider = PLATFORMS[usize::from(*of) % PLATFORMS.len()];
    let known = provider.service()?;
    let answer = |answer: &[u8]| match answer {
        [status, body @ ..] => (STATUSES[usize::from(*status) % STATUSES.len()], body.to_vec()),
        [] => (StatusCode::NO_CONTENT, Vec::new()),
    };
    let answers = rest.split(|byte| *byte == 0).map(answer).collect();
    let manner = Manner { allow_imdsv1: bytes.len().is_multiple_of(2), thorough: true };
    RUNTIME.with(|runtime| {
        runtime.as_ref().ok()?.block_on(async {
            let mut say = |_: &str| {};
            // tokio gives back what it keeps of a closed socket when it looks for events, which nothing here waits for.
            task::yield_now().await;
            provider.read(&Service::scripted(&known, answers, &mut say).ok()?, manner).await.ok()
        })
    })
}

const PLATFORMS: [Provider; 10] = [
    Provider::Ec2,
    Provider::Gce,
    Provider::Azure,
    Provider::OpenStack,
    Provider::DigitalOcean,
    Provider::Hetzner,
    Provider::Vultr,
    Provider::Oracle,
    Provider::Akamai,
    Provider::Scaleway,
];

/// Most answers are what was asked for, whatever the byte is.
const STATUSES: [StatusCode; 8] = [
    StatusCode::OK,
    StatusCode::OK,
    StatusCode::OK,
    StatusCode::OK,
    StatusCode::NOT_FOUND,
    StatusCode::BAD_REQUEST,
    StatusCode::UNAUTHORIZED,
    StatusCode::SERVICE_UNAVAILABLE,
];

thread_local! {
    static RUNTIME: std::io::Result<Runtime> = runtime::Builder::new_current_thread().enable_all().build();
}

/// YAML, ours and cloud-init's.
pub fn of_yaml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for dialect in [Dialect::Ours, Dialect::CloudInit] {
        match yaml::read(text, &Origin::whole(SOURCE), dialect) {
            Ok(Some(tree)) => drop(tree.to_json().to_string()),
            Ok(None) => {}
            Err(fault) => said(&fault),
        }
    }
}

/// `network-config`, in either of its versions.
pub fn of_network(bytes: &[u8]) {
    match network::read(bytes, SOURCE) {
        Ok(found) => drop(network::render(&found)),
        Err(fault) => said(&fault),
    }
}

/// What cloud-init leaves, with a zero byte between its files: how far it is, what it knows of the instance, what it has
/// merged, and the parts that our handler has kept, the first of them a document.
pub fn of_merged(bytes: &[u8]) {
    merged(bytes);
}

fn merged(bytes: &[u8]) -> Option<cloud_init::Said> {
    let mut files = bytes.split(|byte| *byte == 0);
    let status = serde_json::from_slice(files.next().unwrap_or_default()).unwrap_or_default();
    let data = serde_json::from_slice(files.next().unwrap_or_default()).unwrap_or_default();
    if cloud_init::before_the_end(&status).is_some() {
        return None;
    }
    let merged = files.next().and_then(|file| std::str::from_utf8(file).ok());
    let name = |i: usize| if i == 0 { "001.yaml".to_owned() } else { format!("{:03}.part", i + 1) };
    let kept = files.enumerate().map(|(i, file)| Ok((name(i), file.to_vec())));
    cloud_init::said(&Paths::under("/nonexistent"), SOURCE, data, merged, kept).ok()
}

/// A seed or a volume: a byte for its form, then its files with a zero byte between them.
pub fn of_seed(bytes: &[u8]) {
    if let Some(seed) = seed(bytes) {
        seed.content().map(drop).ok();
        drop(seed.network());
    }
}

fn seed(bytes: &[u8]) -> Option<Seed> {
    let (form, rest) = bytes.split_first()?;
    let (form, names): (_, &[&str]) = match form % 3 {
        0 => (Form::NoCloud, &["meta-data", "user-data", "network-config", "etcd-bootstrapper.yaml"]),
        1 => (Form::ConfigDrive, &["openstack/latest/meta_data.json", "openstack/latest/user_data"]),
        _ => (Form::Own, &["etcd-bootstrapper.yaml", "etcd-bootstrapper.json"]),
    };
    let files = rest.split(|byte| *byte == 0).map(<[u8]>::to_vec);
    let files = names.iter().copied().zip(files).filter(|(_, bytes)| !bytes.is_empty()).collect();
    Some(Seed { name: SOURCE.into(), form, layout: Layout::Volume, files })
}

/// The kernel command line.
pub fn of_command_line(line: &str) {
    if let Err(fault) = command_line::tree(line, &Origin::whole(SOURCE)) {
        said(&fault);
    }
    detect::named(&detect::words(line)).map(drop).ok();
}

/// A document, and what a later boot reads of what this one keeps of it.
pub fn of_document(bytes: &[u8]) {
    let origin = Origin::whole(SOURCE);
    let tree = match document::tree(bytes, &origin) {
        Ok(Some(tree)) => tree,
        Ok(None) => return,
        Err(fault) => return said(&fault),
    };
    match document::mean(&tree) {
        Ok((spec, _)) => {
            let kept = tree.to_json().to_string();
            let again = yaml::read(&kept, &origin, Dialect::Ours).ok().flatten();
            let again = again.and_then(|tree| document::mean(&tree).ok()).map(|(spec, _)| spec);
            assert_eq!(again.as_ref(), Some(&spec), "it was kept as {kept}");
        }
        Err(faults) => said_all(faults),
    }
}

fn said_all(faults: Vec<Fault>) {
    faults.iter().for_each(said);
}

/// A fault has to be told, whatever its place and value are.
fn said(fault: &Fault) {
    assert!(!fault.to_string().is_empty());
}

#[cfg(test)]
mod tests {
    use super::{machine, merged, seed};

    fn corpus(name: &str) -> impl Iterator<Item = (String, Vec<u8>)> {
        let directory = format!("{}/../tests/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
        let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        paths.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
    }

    #[test]
    fn the_corpora_of_files_begin_with_such_as_carry_a_configuration() {
        let whole = |name: &str, carries: fn(&[u8]) -> bool| {
            let whole = corpus(name).filter(|(file, _)| file.ends_with(".whole"));
            let whole: Vec<_> = whole.map(|(file, bytes)| (file, carries(&bytes))).collect();
            assert!(whole.len() > 1 && whole.iter().all(|(_, carries)| *carries), "{name}: {whole:?}");
        };
        whole("merged", |bytes| merged(bytes).is_some_and(|said| !said.content.pieces.is_empty()));
        whole("seed", |bytes| seed(bytes).is_some_and(|seed| seed.content().is_ok_and(|c| !c.pieces.is_empty())));
    }

    #[test]
    fn each_platform_of_the_corpus_tells_its_machine_and_what_that_was_given() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fuzz/corpus/platform");
        let mut platforms = Vec::new();
        for entry in std::fs::read_dir(corpus).unwrap() {
            let path = entry.unwrap().path();
            let machine = machine(&std::fs::read(&path).unwrap());
            let machine = machine.unwrap_or_else(|| panic!("{} is of no machine", path.display()));
            assert!(!machine.content().unwrap().pieces.is_empty(), "{} carries nothing", path.display());
            platforms.push(machine.provider.name());
        }
        platforms.sort_unstable();
        let all = super::PLATFORMS.map(|platform| platform.name());
        assert_eq!(platforms, {
            let mut all = all.to_vec();
            all.sort_unstable();
            all
        });
    }
}
