//! What reads configuration, as functions of any bytes. They end, and what they say must hold.

use hyper::StatusCode;
use tokio::runtime::{self, Runtime};

use super::fault::Fault;
use super::platform::Machine;
use super::providers::{Manner, Provider};
use super::service::Service;
use super::yaml::{self, Dialect, Origin};
use super::{document, mime, network, user_data, validate};

const SOURCE: &str = "anything";

/// User-data, however it is packed, and the documents in it.
pub fn of_user_data(bytes: &[u8]) {
    match user_data::read(bytes, SOURCE) {
        Ok(found) => {
            for part in found.parts.iter().filter(|part| part.whole) {
                document::mean(&part.tree).map_err(said_all).ok();
            }
        }
        Err(fault) => said(&fault),
    }
    match validate::validate(bytes, SOURCE) {
        Ok(validate::Verdict::Valid { spec, .. }) => drop(validate::summary(&spec)),
        Ok(validate::Verdict::Faults(faults)) => said_all(faults),
        Err(_) => {}
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
    match network::read(bytes, SOURCE) {
        Ok(found) => drop(network::render(&found)),
        Err(fault) => said(&fault),
    }
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
    use super::machine;

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
