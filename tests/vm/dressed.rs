//! What a machine that a platform launched must know of that.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::canary;
use crate::cluster::Cluster;
use crate::flavour::{self, Flavour};
use crate::machine::Machine;

/// Who launched a machine, and where its configuration is from.
#[derive(Clone, Debug)]
pub struct Dressed {
    /// As `metadata detect` has it.
    pub provider: &'static str,
    /// What tells: `dmi` or `volume`.
    pub source: &'static str,
    /// How the platform calls the machine.
    pub instance: String,
    /// The name that the platform gives to the machine, if it does.
    pub hostname: Option<String>,
    /// Where `config explain` has the cluster's name from.
    pub carrier: String,
    /// Where it has `replace_after` from, where the platform has a second carrier.
    pub beside: Option<String>,
}

/// What cloud-init says on Azure where no medium with an `ovf-env.xml` is attached.
const NO_MEDIUM: &str = "Unable to find provisioning media";

impl Dressed {
    /// The same where cloud-init reads user-data, and names the host without its domain.
    fn merged(&self) -> Dressed {
        let carrier = if self.source == "volume" { "user-data" } else { &self.carrier };
        let short = |name: &String| name.split('.').next().unwrap_or_default().to_owned();
        Dressed {
            carrier: format!("{carrier}, merged by cloud-init"),
            hostname: self.hostname.as_ref().map(short),
            ..self.clone()
        }
    }
}

#[derive(Deserialize)]
struct Detected {
    provider: String,
    source: Option<String>,
}

/// Fails unless the machine knows all of it, and shows none of its secrets; and unless cloud-init, where it has that, has
/// nothing to say.
pub fn look(flavour: Flavour, machine: &mut Machine, expected: &Dressed, cluster: &Cluster) -> Result<()> {
    let merged = (flavour == Flavour::CloudInit).then(|| expected.merged());
    if merged.is_some() {
        flavour::clean(machine, if expected.provider == "azure" { &[NO_MEDIUM] } else { &[] })?;
    }
    let expected = merged.as_ref().unwrap_or(expected);
    let detected = machine.ask("etcd-bootstrapper metadata detect --json")?;
    let Detected { provider, source } =
        serde_json::from_str(&detected).with_context(|| format!("not what was detected: {detected}"))?;
    ensure!(
        provider == expected.provider && source.as_deref() == Some(expected.source),
        "{} is dressed as {expected:?}, and finds {detected}",
        machine.name()
    );
    let shown = machine.ask("etcd-bootstrapper metadata show")?;
    let told = expected.source == "volume" || shown.contains(&format!("instance_id: {}\n", expected.instance));
    ensure!(told, "{} is {} and shows {shown}", machine.name(), expected.instance);
    let explained = machine.ask("etcd-bootstrapper config explain")?;
    let from = |key: &str, carrier: &str| {
        let found = explained.lines().any(|line| line.starts_with(&format!("{key} = ")) && line.contains(carrier));
        ensure!(found, "{}: {key} is not from {carrier}:\n{explained}", machine.name());
        Ok(())
    };
    from("cluster.name", &expected.carrier)?;
    if let Some(beside) = &expected.beside {
        from("replace_after", beside)?;
    }
    from("instance-id", &expected.instance)?;
    if let Some(expected) = &expected.hostname {
        let name = machine.ask("cat /proc/sys/kernel/hostname")?;
        ensure!(name == *expected, "{} calls itself {name}, not {expected}", machine.name());
    }
    canary::look(machine, cluster)
}
