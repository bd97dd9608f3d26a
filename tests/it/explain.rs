//! What `plan --json` says of real hosts, held against its schema.

use serde_json::Value;

use crate::fits::fits;
use crate::world::{Host, World};

/// `plan --json` on this host; the schema must describe it.
fn plan(host: &Host) -> Value {
    let schema = include_str!("../../docs/plan.schema.json");
    let schema: Value = serde_json::from_str(schema).expect("docs/plan.schema.json is JSON");
    let output = host.program(&["plan", "--json"]).output().expect("plan runs");
    assert!(output.status.success(), "plan: {}", String::from_utf8_lossy(&output.stderr));
    let plan: Value = serde_json::from_slice(&output.stdout).expect("plan --json says JSON");
    assert!(fits(&schema, &plan, &schema), "docs/plan.schema.json does not describe {plan:#}");
    plan
}

#[test]
fn a_wait_says_for_whom_why_since_when_and_what_would_end_it() {
    let mut world = World::new(3);
    let unasked = plan(&world.hosts[0]);
    assert_eq!(unasked["since"], Value::Null, "nothing has waited yet");
    world.hosts[0].boot();
    world.hosts[0].wait_for("run", "row 20");
    world.hosts[0].wait_for("run", "since: 20");
    let plan = plan(&world.hosts[0]);
    let wait = &plan["decided"]["decision"]["wait"];
    assert_eq!(plan["decided"]["row"], 20);
    assert_eq!(wait["who"].as_array().map(Vec::len), Some(2), "{wait}");
    assert!(wait["until"].as_str().is_some_and(|until| until.contains("blank")), "{wait}");
    assert!(plan["since"].as_str().is_some_and(|since| since.starts_with("20")), "{plan}");
    let status = world.hosts[0].status();
    assert_eq!(status["since"], plan["since"]);
}

#[test]
fn a_host_that_lost_its_disk_is_told_how_the_cluster_stands() {
    let mut world = World::new(3);
    world.boot_all();
    world.hosts[2].wipe();
    let plan = plan(&world.hosts[2]);
    assert_eq!(plan["quorum"], Value::Null, "without certificates of its own it cannot ask");
    world.hosts[2].boot();
    assert_eq!(world.hosts[2].run_ends(), 0, "{}", world.hosts[2].said_by("run"));
    let plan = self::plan(&world.hosts[2]);
    let line = plan["quorum"].as_str().unwrap_or_default();
    assert!(line.starts_with("2 voters, 2 answer, a quorum is 2; 1 learner"), "{line}");
    // Handed off, and etcd never started: without a log the learner that was added is a disk that was lost again.
    assert_eq!(plan["decided"]["row"], 14, "{plan:#}");
}
