//! What name servers and providers answer, as functions of any bytes.

use std::collections::BTreeSet;

use futures_util::FutureExt;
use plan::discovery::{AwsAsg, AzureVmss, GceMig};
use serde_json::json;

use super::asg::Asg;
use super::azure::Vmss;
use super::gce::Mig;
use super::http::Script;
use super::rest::Rest;
use super::{Listing, Trouble, dns, keepers, srv};
use crate::paths::Paths;

const NAME: &str = "_etcd-server-ssl._tcp.example.com";

/// A name server's message, and the group that it lists.
pub fn of_dns(bytes: &[u8]) {
    found(bytes).map(drop).ok();
}

fn found(bytes: &[u8]) -> Result<Listing, Trouble> {
    srv::listing(NAME, &dns::records(bytes, NAME))
}

/// A resolv.conf.
pub fn of_resolv_conf(text: &str) {
    srv::servers(text);
}

/// What AWS answers: a byte that says what it is asked, then the answers with a zero byte between them, each a byte for its
/// status and the body.
pub fn of_aws(bytes: &[u8]) {
    amazon(bytes);
}

/// Whether the first byte's question was answered.
fn amazon(bytes: &[u8]) -> Option<bool> {
    let (asked, answers) = script(bytes)?;
    let named = ["prod", "auto"][usize::from(asked % 2)];
    let entry: AwsAsg =
        serde_json::from_value(json!({"name": named, "launch_hook": "auto", "region": "eu-west-1"})).ok()?;
    let asg = Asg::of(entry, &Paths::under("/nonexistent"), Some("i-1")).scripted(answers);
    if asked & 2 == 0 {
        let known: BTreeSet<String> = ["i-1", "i-7", "etcd-9"].map(str::to_owned).into();
        return Some(asg.list(&known).now_or_never()?.is_ok());
    }
    Some(asg.hook()?.tell(asked & 4 == 0, &mut None).now_or_never()?.is_ok())
}

/// What Google and Microsoft answer, in the same form; and what a keeper of secrets keeps.
pub fn of_rest(bytes: &[u8]) {
    rest(bytes);
}

fn rest(bytes: &[u8]) -> Option<bool> {
    let (asked, answers) = script(bytes)?;
    let rest = |answers| Rest::scripted("https://provider".into(), &Paths::under("/nonexistent"), answers);
    match asked % 4 {
        0 => Some(Mig::at(&GceMig::default(), rest(answers), "m".into()).list().now_or_never()?.is_ok()),
        1 => {
            let named =
                GceMig { name: Some("projects/p/zones/z/instanceGroupManagers/etcd".into()), ..GceMig::default() };
            Some(Mig::at(&named, rest(answers), "m".into()).list().now_or_never()?.is_ok())
        }
        2 => Some(Vmss::at(&AzureVmss::default(), rest(answers), "m".into()).list().now_or_never()?.is_ok()),
        _ => Some(keepers::within(&answers.next().1, "password", "kept").is_ok()),
    }
}

fn script(bytes: &[u8]) -> Option<(u8, Script)> {
    let (asked, rest) = bytes.split_first()?;
    let answer = |answer: &[u8]| {
        let (status, body) = answer.split_first()?;
        let status = STATUSES[usize::from(*status) % STATUSES.len()];
        Some((status, String::from_utf8(body.to_vec()).ok()?))
    };
    let answers = rest.split(|byte| *byte == 0).map(|bytes| answer(bytes).unwrap_or((404, String::new())));
    Some((*asked, Script::of(answers)))
}

/// Most answers are what was asked for, whatever the byte is.
const STATUSES: [u16; 8] = [200, 200, 200, 200, 404, 400, 403, 503];

#[cfg(test)]
mod tests {
    use super::*;

    /// Each file of a corpus that is not called `refused` is an answer that is understood to its end.
    fn understood(name: &str, read: impl Fn(&[u8]) -> bool) {
        let corpus = format!("{}/../tests/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut whole = 0;
        for entry in std::fs::read_dir(corpus).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_str().unwrap().to_owned();
            let Some(expected) =
                file.strip_suffix(".whole").map(|_| true).or(file.strip_suffix(".refused").map(|_| false))
            else {
                continue;
            };
            assert_eq!(read(&std::fs::read(&path).unwrap()), expected, "{}", path.display());
            whole += usize::from(expected);
        }
        assert!(whole > 1, "{name} has nothing that is understood");
    }

    #[test]
    fn the_corpora_begin_with_answers_that_are_understood() {
        understood("dns", |bytes| found(bytes).is_ok_and(|listing| !listing.instances.is_empty()));
        understood("aws", |bytes| amazon(bytes) == Some(true));
        understood("rest", |bytes| rest(bytes) == Some(true));
    }
}
