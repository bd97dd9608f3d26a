//! Every fault of a spec and of user-data, with the whole message and exit code.

use std::path::PathBuf;

use super::validate::{Verdict, validate};
use crate::exit::Exit;

fn spec_fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/spec")
}

fn files(dir: PathBuf) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let name = |f: &PathBuf| f.file_name().unwrap().to_str().unwrap().to_owned();
    files.into_iter().map(|f| (name(&f), std::fs::read(&f).unwrap())).collect()
}

/// Exit code and message, one line each fault.
fn faults(name: &str, bytes: &[u8]) -> Vec<String> {
    match validate(bytes, name) {
        Ok(Verdict::Valid { .. }) => vec![format!("0 {name}: valid")],
        Ok(Verdict::Faults(faults)) => faults.iter().map(|f| format!("65 {f}")).collect(),
        Err(error) => vec![format!("{} {error:#}", Exit::of(&error) as u8)],
    }
}

#[test]
fn each_bad_file_fails_with_its_exit_code_place_path_and_remedy() {
    let expected = std::fs::read_to_string(spec_fixtures().join("bad.txt")).unwrap();
    let found: Vec<String> =
        files(spec_fixtures().join("bad")).iter().flat_map(|(name, bytes)| faults(name, bytes)).collect();
    for (found, expected) in found.iter().zip(expected.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.join("\n") + "\n", expected);
}
