//! An Auto Scaling group by moto, which chooses IDs and addresses: the hosts take those, and find one another by nothing else.

use regex::Regex;

use crate::support::moto::{Moto, REGION};
use crate::world::World;

const LAUNCH: &str = "Action=CreateLaunchConfiguration&Version=2011-01-01&LaunchConfigurationName=etcd\
                      &ImageId=ami-12c6146b&InstanceType=t3.small";
const GROUP: &str = "Action=CreateAutoScalingGroup&Version=2011-01-01&AutoScalingGroupName=prod\
                     &LaunchConfigurationName=etcd&MinSize=3&MaxSize=4&DesiredCapacity=3\
                     &AvailabilityZones.member.1=eu-west-1a";

/// ID and private address of whoever runs.
fn running(moto: &Moto, world: &World) -> Vec<(String, String)> {
    let form = "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=instance-state-name&Filter.1.Value.1=running";
    let text = moto.ask(&world.hosts[0], "ec2", form);
    let one =
        Regex::new(r"<instanceId>(i-[0-9a-f]+)</instanceId>[\s\S]*?<privateIpAddress>([0-9.]+)<").expect("a pattern");
    one.captures_iter(&text).map(|found| (found[1].to_owned(), found[2].to_owned())).collect()
}

/// A host becomes this instance.
fn becomes(world: &mut World, on: usize, moto: &Moto, (id, address): &(String, String)) {
    let discovery = format!(
        "discovery: {{aws_asg: {{region: {REGION}, launch_hook: auto, endpoint: \"{}\", allow_http: true, \
         credentials: {{access_key_id: test, secret_access_key: test}}}}}}",
        moto.endpoint
    );
    let config = world.config();
    let config: Vec<&str> =
        config.lines().map(|line| if line.starts_with("discovery:") { discovery.as_str() } else { line }).collect();
    let host = &mut world.hosts[on];
    host.configure(&format!("{}\nreplace_after: 2s\nmember: {{name: {id}}}\n", config.join("\n")));
    let mut ip = host.command("ip");
    let output = ip.args(["addr", "add", &format!("{address}/8"), "dev", "eth0"]).output().expect("ip runs");
    assert!(output.status.success(), "{address}: {}", String::from_utf8_lossy(&output.stderr));
    host.address.clone_from(address);
}

fn voters(instances: &[&(String, String)]) -> Vec<String> {
    let mut names: Vec<String> = instances.iter().map(|(id, _)| id.clone()).collect();
    names.sort();
    names
}

#[test]
fn an_auto_scaling_group_founds_and_whom_it_launches_for_a_terminated_member_takes_its_place() {
    let mut world = World::group(3, 4);
    let moto = Moto::of_all(&world.hosts[0]);
    moto.ask(&world.hosts[0], "autoscaling", LAUNCH);
    moto.ask(&world.hosts[0], "autoscaling", GROUP);
    let first = running(&moto, &world);
    assert_eq!(first.len(), 3, "{first:?}");
    for (on, instance) in first.iter().enumerate() {
        becomes(&mut world, on, &moto, instance);
    }
    for host in &mut world.hosts[..3] {
        host.boot();
    }
    world.settle_all();
    assert_eq!(world.members(0), (voters(&[&first[0], &first[1], &first[2]]), 0));
    world.put(0, "kept", "by the group");

    world.hosts[2].kill();
    let end = format!(
        "Action=TerminateInstanceInAutoScalingGroup&Version=2011-01-01&InstanceId={}&ShouldDecrementDesiredCapacity=false",
        first[2].0
    );
    moto.ask(&world.hosts[0], "autoscaling", &end);
    let now = running(&moto, &world);
    let new = now.iter().find(|instance| !first.contains(instance)).expect("another was launched");
    becomes(&mut world, 3, &moto, new);
    world.hosts[3].boot();
    world.hosts[3].settle();
    assert_eq!(world.members(0), (voters(&[&first[0], &first[1], new]), 0));
    assert_eq!(world.get(3, "kept"), "by the group");
    // The group has no hook, which ends nothing but the telling.
    let told = format!("no launch waits for {}: the group prod has no hook on launches", new.0);
    assert!(world.hosts[3].said_by("finish").contains(&told), "{}", world.hosts[3].said_by("finish"));
    assert!(world.hosts[3].rows().contains(&17), "{:?}", world.hosts[3].rows());
}
