//! EC2 and Auto Scaling as their references describe them: what moto does not do, which is pages, refusals and hooks.

use std::time::Duration;

use plan::discovery::AwsAsg;
use tokio::sync::watch;
use tokio::time::timeout;

use super::super::asg::Asg;
use super::super::aws::Action;
use super::super::hook::Hook;
use super::super::{Listing, Trouble};
use super::fake::{Answer, Asked, Fake};
use crate::exit::Exit;
use crate::paths::Paths;

fn asg(fake: &Fake, name: &str) -> Asg {
    let entry: AwsAsg = serde_json::from_value(serde_json::json!({
        "name": name, "region": "eu-west-1", "endpoint": fake.endpoint, "allow_http": true,
        "credentials": {"access_key_id": "AKID", "secret_access_key": "secret", "session_token": "of-the-role"},
    }))
    .unwrap();
    Asg::of(entry, &Paths::under("/nonexistent"), Some("i-1"))
}

async fn listed(fake: &Fake, name: &str) -> Result<Listing, Trouble> {
    asg(fake, name).list(&["i-1", "i-7", "i-8", "etcd-9"].map(str::to_owned).into()).await
}

/// As the documentation of each action has it, for a group `prod` of instances with these IDs and states.
fn answer(asked: &Asked, group: &[&str], instances: &[(&str, &str)]) -> Answer {
    let service = if asked.body.contains("Action=DescribeInstances&") { "ec2" } else { "autoscaling" };
    let signed = asked.header("authorization").starts_with("AWS4-HMAC-SHA256 Credential=AKID/")
        && asked.header("authorization").contains(&format!("/eu-west-1/{service}/aws4_request"))
        && asked.header("x-amz-security-token") == "of-the-role"
        && !asked.header("x-amz-date").is_empty();
    if !signed || !asked.line.starts_with("POST / ") {
        return refusal(403, "MissingAuthenticationToken");
    }
    let body = match asked.field("Action").unwrap().as_str() {
        "DescribeAutoScalingInstances" => format!(
            "<DescribeAutoScalingInstancesResponse><DescribeAutoScalingInstancesResult><AutoScalingInstances><member>\
             <InstanceId>{}</InstanceId><AutoScalingGroupName>prod</AutoScalingGroupName></member>\
             </AutoScalingInstances></DescribeAutoScalingInstancesResult></DescribeAutoScalingInstancesResponse>",
            asked.field("InstanceIds.member.1").unwrap()
        ),
        "DescribeAutoScalingGroups" => {
            let members: String =
                group.iter().map(|id| format!("<member><InstanceId>{id}</InstanceId></member>")).collect();
            format!(
                "<DescribeAutoScalingGroupsResponse><DescribeAutoScalingGroupsResult><AutoScalingGroups><member>\
                 <AutoScalingGroupName>prod</AutoScalingGroupName><Instances>{members}</Instances></member>\
                 </AutoScalingGroups></DescribeAutoScalingGroupsResult></DescribeAutoScalingGroupsResponse>"
            )
        }
        "DescribeInstances" => page(instances, asked),
        other => panic!("{other} is not asked here"),
    };
    (200, "", body)
}

/// One instance a page; by ID one that has ended, whose tags are gone, and one that has left the group.
fn page(instances: &[(&str, &str)], asked: &Asked) -> String {
    if asked.field("Filter.1.Name").as_deref() == Some("instance-id") {
        let values = ["Filter.1.Value.1", "Filter.1.Value.2", "Filter.1.Value.3"].map(|name| asked.field(name));
        assert_eq!(values, [Some("i-7".into()), Some("i-8".into()), None]);
        let item = |id, state| {
            format!(
                "<item><instancesSet><item><instanceId>{id}</instanceId><instanceState><name>{state}</name></instanceState></item></instancesSet></item>"
            )
        };
        let items = item("i-7", "terminated") + &item("i-8", "running");
        return format!(
            "<DescribeInstancesResponse><reservationSet>{items}</reservationSet></DescribeInstancesResponse>"
        );
    }
    assert_eq!(asked.field("Filter.1.Name").as_deref(), Some("tag:aws:autoscaling:groupName"));
    assert_eq!(asked.field("Filter.1.Value.1").as_deref(), Some("prod"));
    let at: usize = asked.field("NextToken").map_or(0, |token| token.parse().unwrap());
    let next = if at + 1 < instances.len() { format!("<nextToken>{}</nextToken>", at + 1) } else { String::new() };
    let item = instances.get(at).map_or_else(String::new, |(id, state)| {
        format!(
            "<item><instancesSet><item><instanceId>{id}</instanceId><instanceState><name>{state}</name></instanceState>\
             <privateIpAddress>10.0.0.{}</privateIpAddress></item></instancesSet></item>",
            at + 1
        )
    });
    format!("<DescribeInstancesResponse><reservationSet>{item}</reservationSet>{next}</DescribeInstancesResponse>")
}

fn refusal(status: u16, code: &str) -> Answer {
    let body = format!("<ErrorResponse><Error><Code>{code}</Code><Message>because</Message></Error></ErrorResponse>");
    (status, "Retry-After: 7\r\n", body)
}

#[tokio::test]
async fn a_group_is_read_to_its_last_page_with_whom_ec2_does_not_show_yet() {
    let fake = Fake::of(|_, asked| {
        answer(asked, &["i-1", "i-4"], &[("i-1", "running"), ("i-2", "terminated"), ("i-3", "shutting-down")])
    })
    .await;
    let listing = listed(&fake, "auto").await.unwrap();
    let found: Vec<(String, Option<String>, bool)> = listing
        .instances
        .iter()
        .map(|i| (i.id.to_string(), i.peer_url.as_ref().map(ToString::to_string), i.terminated))
        .collect();
    let at = |n: u8| Some(format!("https://10.0.0.{n}:2380"));
    assert_eq!(
        found,
        [
            ("i-1".to_owned(), at(1), false),
            ("i-2".to_owned(), at(2), true),
            ("i-3".to_owned(), at(3), false),
            ("i-4".to_owned(), None, false),
            ("i-7".to_owned(), None, true),
        ]
    );
}

#[tokio::test]
async fn what_is_not_the_whole_answer_is_no_group() {
    let whole: [(&str, &str); 2] = [("i-1", "running"), ("i-2", "running")];
    type Change = fn(&Asked, Answer) -> Answer;
    let cases: [(Change, Exit, &str); 7] = [
        (
            |_, _| refusal(403, "AccessDenied"),
            Exit::Permission,
            "allow autoscaling:DescribeAutoScalingGroups to the role",
        ),
        (|_, _| refusal(400, "Throttling"), Exit::TryAgain, "asked again later"),
        (|_, _| refusal(403, "SignatureDoesNotMatch"), Exit::TryAgain, "a wrong clock does that"),
        (
            |asked, all| if asked.body.contains("NextToken=1") { refusal(403, "UnauthorizedOperation") } else { all },
            Exit::Permission,
            "allow ec2:DescribeInstances",
        ),
        (
            |_, (_, _, body)| (200, "", body.replace("<AutoScalingGroupName>prod<", "<AutoScalingGroupName>other<")),
            Exit::TryAgain,
            "the Auto Scaling group prod is not there in eu-west-1",
        ),
        (|_, (_, _, body)| (200, "", body[..body.len() / 2].to_owned()), Exit::Unavailable, "no such answer"),
        (|_, _| (302, "Location: http://127.0.0.1:1/\r\n", String::new()), Exit::Unavailable, "HTTP 302"),
    ];
    for (change, exit, why) in cases {
        let fake = Fake::of(move |_, asked| change(asked, answer(asked, &["i-1", "i-2"], &whole))).await;
        let trouble = listed(&fake, "prod").await.expect_err(why);
        assert!(trouble.text.contains(why) && trouble.exit == exit, "{why}: {trouble:?}");
    }
    let loops = |_: usize, asked: &Asked| {
        let (status, headers, body) = answer(asked, &[], &[("i-1", "running")]);
        (status, headers, body.replace("</reservationSet>", "</reservationSet><nextToken>0</nextToken>"))
    };
    let trouble = listed(&Fake::of(loops).await, "prod").await.expect_err("no end");
    assert!(trouble.text.contains("does not come to an end of its pages"), "{trouble:?}");
}

#[tokio::test]
async fn throttling_says_when_to_ask_again_and_nobody_answering_is_told() {
    let fake = Fake::of(|_, _| refusal(503, "RequestLimitExceeded")).await;
    assert_eq!(listed(&fake, "prod").await.unwrap_err().after, Some(Duration::from_secs(7)));
    let mut gone = Fake::of(|_, _| refusal(503, "x")).await;
    gone.endpoint = "http://127.0.0.1:1".into();
    let trouble = listed(&gone, "prod").await.unwrap_err();
    assert!(
        trouble.text.contains("autoscaling:DescribeAutoScalingGroups about the Auto Scaling group prod"),
        "{trouble:?}"
    );
}

const HOOKS: &str = "<DescribeLifecycleHooksResponse><DescribeLifecycleHooksResult><LifecycleHooks><member>\
    <LifecycleHookName>ending</LifecycleHookName><LifecycleTransition>autoscaling:EC2_INSTANCE_TERMINATING\
    </LifecycleTransition></member><member><LifecycleHookName>voting</LifecycleHookName>\
    <LifecycleTransition>autoscaling:EC2_INSTANCE_LAUNCHING</LifecycleTransition></member></LifecycleHooks>\
    </DescribeLifecycleHooksResult></DescribeLifecycleHooksResponse>";

/// Only with the token of our instance, group and hook, as Auto Scaling looks an action up.
fn hooks(asked: &Asked) -> Option<Answer> {
    let action = asked.field("Action").unwrap();
    if action == "DescribeLifecycleHooks" {
        return Some((200, "", HOOKS.into()));
    }
    let ours = [("AutoScalingGroupName", "prod"), ("LifecycleHookName", "voting"), ("InstanceId", "i-1")];
    (!ours.iter().all(|(name, value)| asked.field(name).as_deref() == Some(value)))
        .then(|| refusal(400, "ValidationError"))
}

fn ok(action: &str) -> Answer {
    (200, "", format!("<{action}Response><{action}Result/></{action}Response>"))
}

fn actions(fake: &Fake) -> Vec<String> {
    fake.asked().iter().map(|a| a.field("Action").unwrap()).filter(|a| a != "DescribeLifecycleHooks").collect()
}

#[tokio::test]
async fn a_launch_is_kept_alive_until_the_member_votes_and_is_completed_then_whatever_fails_between() {
    let (votes, seen) = watch::channel(false);
    let fake = Fake::of(move |nth, asked| {
        if let Some(answer) = hooks(asked) {
            return answer;
        }
        let action = asked.field("Action").unwrap();
        // Three signs of life fail, three go well, and then this host's member votes.
        if nth == 6 {
            votes.send_replace(true);
        }
        match (action.as_str(), nth) {
            (_, 1..=3) => refusal(400, "Throttling"),
            (_, 7..=8) => refusal(503, "ServiceUnavailable"),
            ("CompleteLifecycleAction", _) if asked.field("LifecycleActionResult").as_deref() != Some("CONTINUE") => {
                refusal(400, "ValidationError")
            }
            _ => ok(&action),
        }
    })
    .await;
    let asg = asg(&fake, "prod");
    let hook = Hook::of(&asg, "i-1", None, Duration::from_millis(20));
    timeout(Duration::from_secs(30), hook.pace(seen)).await.expect("it ends");
    let wanted = [vec!["RecordLifecycleActionHeartbeat"; 6], vec!["CompleteLifecycleAction"; 3]].concat();
    assert_eq!(actions(&fake), wanted);
}

#[tokio::test]
async fn a_launch_that_nobody_waits_for_is_over_once_the_instance_is_in_service() {
    let nobody = "<ErrorResponse><Error><Code>ValidationError</Code><Message>No active Lifecycle Action found with \
                  instance ID i-1</Message></Error></ErrorResponse>";
    let placed = |state: &str| {
        format!(
            "<DescribeAutoScalingInstancesResponse><DescribeAutoScalingInstancesResult><AutoScalingInstances><member>\
             <InstanceId>i-1</InstanceId><AutoScalingGroupName>prod</AutoScalingGroupName><LifecycleState>{state}\
             </LifecycleState></member></AutoScalingInstances></DescribeAutoScalingInstancesResult>\
             </DescribeAutoScalingInstancesResponse>"
        )
    };
    // Each sign of life is followed by the question where the instance is; it comes to its hook a moment late.
    for (named, hooks, requests) in [(Some("voting"), HOOKS, 4), (None, "", 1), (None, HOOKS, 5)] {
        let empty = "<DescribeLifecycleHooksResponse><DescribeLifecycleHooksResult><LifecycleHooks/>\
                     </DescribeLifecycleHooksResult></DescribeLifecycleHooksResponse>";
        let known = if hooks.is_empty() { empty } else { hooks };
        let pending = std::sync::atomic::AtomicU8::new(0);
        let fake = Fake::of(move |_, asked| match asked.field("Action").as_deref() {
            Some("DescribeLifecycleHooks") => (200, "", known.into()),
            Some("DescribeAutoScalingInstances") => {
                let early = pending.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
                (200, "", placed(if early { "Pending" } else { "InService" }))
            }
            _ => (400, "", nobody.into()),
        })
        .await;
        let asg = asg(&fake, "prod");
        let (_votes, seen) = watch::channel(false);
        let hook = Hook::of(&asg, "i-1", named, Duration::from_millis(20));
        timeout(Duration::from_secs(30), hook.pace(seen)).await.expect("it ends");
        assert_eq!(fake.asked().len(), requests, "{named:?}");
    }
}

#[test]
fn the_policy_allows_exactly_what_is_asked() {
    let text = include_str!("../../../../docs/policies/aws.json");
    let policy: serde_json::Value = serde_json::from_str(text).unwrap();
    let statements = policy["Statement"].as_array().unwrap();
    let mut allowed: Vec<String> = statements
        .iter()
        .flat_map(|s| s["Action"].as_array().unwrap().iter().map(|a| a.as_str().unwrap().to_owned()))
        .collect();
    let mut asked: Vec<String> = Action::ALL.iter().map(|action| action.permission()).collect();
    allowed.sort();
    asked.sort();
    assert_eq!(allowed, asked);
}
