//! moto's Auto Scaling group: it chooses IDs and addresses, and the machines take those.

use std::io;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use regex::Regex;

use crate::moto::Moto;
use crate::tools::Tools;
use crate::world::Seat;

/// Where its EC2 has everything.
const REGION: &str = "eu-west-1";
/// A part of the machines' own network; AWS keeps the first addresses of each subnet for itself.
const SUBNET: &str = "10.77.0.16/28";
const GROUP: &str = "prod";

/// An instance of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Such as `i-0123456789abcdef0`; the name of its member.
    pub id: String,
    /// The place in our network that has the address which EC2 gave to it.
    pub seat: Seat,
}

/// The group, for as long as moto lives.
pub struct Fleet {
    moto: Moto,
}

impl Fleet {
    /// A group that keeps so many instances.
    pub fn launch(tools: &Tools, size: usize) -> Result<Fleet> {
        let fleet = Fleet { moto: Moto::start(tools)? };
        let vpc = fleet.ec2("Action=CreateVpc&CidrBlock=10.77.0.0/24")?;
        let vpc = field(&vpc, "vpcId")?;
        let subnet = format!("Action=CreateSubnet&VpcId={vpc}&CidrBlock={SUBNET}&AvailabilityZone={REGION}a");
        let subnet = fleet.ec2(&subnet)?;
        let subnet = field(&subnet, "subnetId")?;
        fleet.autoscaling(
            "Action=CreateLaunchConfiguration&LaunchConfigurationName=etcd&ImageId=ami-12c6146b&InstanceType=t3.small",
        )?;
        fleet.autoscaling(&format!(
            "Action=CreateAutoScalingGroup&AutoScalingGroupName={GROUP}&LaunchConfigurationName=etcd&MinSize={size}\
             &MaxSize={}&DesiredCapacity={size}&VPCZoneIdentifier={subnet}",
            size + 1
        ))?;
        Ok(fleet)
    }

    /// The value of `discovery` by which its instances find one another; they ask with the keys of their role.
    pub fn discovery(&self) -> String {
        let endpoint = self.moto.endpoint();
        format!("{{aws_asg: {{region: {REGION}, launch_hook: auto, endpoint: \"{endpoint}\", allow_http: true}}}}")
    }

    /// Whoever runs.
    pub fn running(&self) -> Result<Vec<Instance>> {
        let text = self.ec2("Action=DescribeInstances&Filter.1.Name=instance-state-name&Filter.1.Value.1=running")?;
        let one = Regex::new(r"<instanceId>(i-[0-9a-f]+)</instanceId>[\s\S]*?<privateIpAddress>([0-9.]+)<")?;
        let instance = |found: regex::Captures<'_>| {
            let address: Ipv4Addr = found[2].parse()?;
            let seat = Seat::at(address).with_context(|| format!("no machine has a place at {address}"))?;
            Ok(Instance { id: found[1].to_owned(), seat })
        };
        one.captures_iter(&text).map(instance).collect()
    }

    /// Terminates one; whom the group launches in its place.
    pub fn terminate(&self, instance: &Instance) -> Result<Instance> {
        let before = self.running()?;
        let id = &instance.id;
        self.autoscaling(&format!(
            "Action=TerminateInstanceInAutoScalingGroup&InstanceId={id}&ShouldDecrementDesiredCapacity=false"
        ))?;
        let mut now = self.running()?;
        ensure!(!now.contains(instance), "EC2 says that {id} runs after it was terminated");
        now.retain(|one| !before.contains(one));
        ensure!(now.len() == 1, "the group has launched {now:?} for {id}");
        Ok(now.remove(0))
    }

    fn ec2(&self, form: &str) -> Result<String> {
        self.ask("ec2", &format!("{form}&Version=2016-11-15"))
    }

    fn autoscaling(&self, form: &str) -> Result<String> {
        self.ask("autoscaling", &format!("{form}&Version=2011-01-01"))
    }

    fn ask(&self, service: &str, form: &str) -> Result<String> {
        let body = io::Cursor::new(form.as_bytes());
        let answer = self.moto.request((REGION, service), "POST /", body, form.len() as u64);
        Ok(String::from_utf8(answer.with_context(|| format!("{service} was asked {form}"))?)?)
    }
}

fn field(text: &str, name: &str) -> Result<String> {
    let found = Regex::new(&format!("<{name}>([^<]+)</{name}>"))?.captures(text).map(|found| found[1].to_owned());
    found.with_context(|| format!("moto's answer has no {name}: {text}"))
}
