//! cloud-init in the image, as it leaves its files when it does not work: the host reads user-data by itself, in time.

use std::time::{Duration, Instant};

use super::fake::patience;
use super::run::{launched, serve};
use super::services::Ec2;

/// Far above the bound of [`PATIENCE`], and far below that of a host whose configuration says nothing.
const SOON: Duration = Duration::from_secs(60);
const PATIENCE: &str = "3s";
/// Written when its process begins, and not again while a datasource hangs.
const HUNG: &str = r#"{"v1": {"datasource": null, "stage": "init-local", "init": {"errors": [], "finished": null, "start": null},
    "init-local": {"errors": [], "finished": null, "start": 4.6}, "modules-config": {}, "modules-final": {}}}"#;

/// A name and what lies in the file.
type File = (&'static str, &'static str);

/// What lies in `/run/cloud-init`, and what is said of it.
const STATES: [(&str, &[File], Option<&str>); 4] = [
    ("absent", &[], None),
    // The generator has found `cloud-init=disabled`, or no datasource.
    ("disabled", &[("disabled", "")], None),
    // The generator has found a datasource, and no unit starts.
    ("masked", &[("enabled", "")], Some("cloud-init has not started: going on without it")),
    (
        "hung",
        &[("enabled", ""), ("status.json", HUNG)],
        Some("cloud-init has not read user-data yet; its stage is init-local: going on without it"),
    ),
];

#[test]
fn a_host_whose_cloud_init_is_absent_disabled_masked_or_hung_reads_user_data_by_itself() {
    for (state, files, said) in STATES {
        let (mut world, config) = launched();
        let host = &mut world.hosts[0];
        let directory = host.root.join("run/cloud-init");
        std::fs::create_dir_all(&directory).expect("a directory");
        for (name, text) in files {
            std::fs::write(directory.join(name), text).expect("a file of cloud-init's");
        }
        patience(&host.root, PATIENCE);
        serve(host, Ec2::with(&format!("#etcd-bootstrapper\n{config}")).serve());
        let start = Instant::now();
        // Without what a boot empties: those files are of this one.
        host.start_run();
        host.settle();
        assert!(start.elapsed() < SOON, "{state}: settled after {:?}: {}", start.elapsed(), host.said_by("run"));
        let told = host.said_by("run");
        let lines = told.matches("going on without it").count();
        assert_eq!(lines, usize::from(said.is_some()), "{state}: {told}");
        assert!(said.is_none_or(|said| told.contains(said)), "{state}: {told}");
        let status = host.program(&["status", "--json"]).output().expect("status runs");
        let status = String::from_utf8(status.stdout).expect("UTF-8");
        assert!(status.contains("user-data of ec2 i-0123456789abcdef0"), "{state}: {status}");
    }
}
