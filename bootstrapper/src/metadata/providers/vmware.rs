//! VMware: guestinfo, which the host hands to the machine without a network, by the tools that VMware's guests have for it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::{Dmi, Provider};
use crate::exit::Exit;
use crate::metadata::platform::{Bytes, Machine};
use crate::metadata::tree::{Node, Value};
use crate::metadata::unpack;
use crate::metadata::yaml::{self, Dialect, Origin};
use crate::metadata::{document, text, user_data};
use crate::paths::Paths;
use crate::sys::process::{self, Program};

/// Each with what stands before a command; both are open-vm-tools', and the second may where the first may not.
const TOOLS: [(&str, Option<&str>); 2] = [("/usr/bin/vmware-rpctool", None), ("/usr/bin/vmtoolsd", Some("--cmd"))];

/// A call of the hypervisor takes milliseconds.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What cloud-init and Ignition write in the place of what was read.
const REDACTED: &str = "---";

/// Our own key below `guestinfo.`.
const OWN: &str = "etcd-bootstrapper";

/// The key that cloud-init reads too.
const USER_DATA: &str = "userdata";

pub(super) fn vouched(dmi: &Dmi) -> Option<String> {
    let product = &dmi.product_name;
    product.to_ascii_lowercase().contains("vmware").then(|| format!("the product is {product}"))
}

/// What guestinfo says; what this program has put out of sight there is what `before` has of it.
///
/// # Errors
/// 65 for what cannot be read, 75 when the tools do not end.
pub(in crate::metadata) async fn read(paths: &Paths, dmi: &Dmi, before: Option<&Machine>) -> Result<Machine> {
    let tools = Tools::of(paths);
    let metadata = match tools.value("metadata").await? {
        Is::There(bytes) => described(&bytes)?,
        Is::Absent | Is::Redacted => None,
    };
    let said = |key: &str| metadata.as_ref().and_then(|tree| tree.get(key)).and_then(Node::text).map(str::to_owned);
    let id = said("instance-id").or_else(|| Some(dmi.product_uuid.clone()).filter(|uuid| !uuid.is_empty()));
    let mut machine = Machine::of(Provider::VmWare, id)?;
    machine.named(said("local-hostname").or_else(|| said("hostname")).as_deref());
    match tools.value(USER_DATA).await? {
        Is::There(bytes) => machine.handed(Some(bytes)),
        Is::Redacted => machine.user_data = before.and_then(|before| before.user_data.clone()),
        Is::Absent => {}
    }
    machine.own = match tools.value(OWN).await? {
        Is::There(bytes) => Some((format!("guestinfo.{OWN}"), Bytes(bytes))),
        Is::Redacted => before.and_then(|before| before.own.clone()),
        Is::Absent => None,
    };
    Ok(machine)
}

/// Puts what is ours and may hold a secret out of sight, once it is kept: every process of the machine, and whoever may look
/// at its settings, could read it for ever.
///
/// # Errors
/// When the tools refuse.
pub(in crate::metadata) async fn redact(paths: &Paths, machine: &Machine) -> Result<()> {
    let tools = Tools::of(paths);
    // What is cloud-init's alone stays for cloud-init.
    let ours = |bytes: &&Bytes| user_data::read(&bytes.0, USER_DATA).is_ok_and(|found| found.is_ours());
    let user_data = machine.user_data.as_ref().filter(ours).map(|bytes| (USER_DATA, bytes));
    let own = machine.own.as_ref().map(|(_, bytes)| (OWN, bytes));
    for (key, Bytes(bytes)) in own.into_iter().chain(user_data) {
        if may_hold_a_secret(bytes) && !matches!(tools.value(key).await?, Is::Redacted) {
            tools.run(&format!("info-set guestinfo.{key} {REDACTED}")).await?;
            tracing::info!(
                "guestinfo.{key} may have held a private key: it is kept here, and not shown there any more"
            );
        }
    }
    Ok(())
}

fn may_hold_a_secret(bytes: &[u8]) -> bool {
    let inner = unpack::user_data(bytes).map_or_else(|_| bytes.to_vec(), |(inner, _)| inner);
    let holds = |word: &[u8]| inner.windows(word.len()).any(|window| window == word);
    // What is inside of base64 inside of YAML is not looked at: a text that writes files so may hold anything.
    holds(b"PRIVATE KEY")
        || holds(b"AGE-SECRET-KEY")
        || holds(b"systemd.credentials")
        || holds(b"b64")
        || holds(b"base64")
}

/// `instance-id` and the names of the host, as NoCloud's meta-data has them.
fn described(bytes: &[u8]) -> Result<Option<Node>> {
    let origin = Origin::whole("guestinfo.metadata");
    let tree = text::decode(bytes, &origin, text::LIMIT).and_then(|text| yaml::read(text, &origin, Dialect::CloudInit));
    let tree = tree.map_err(|fault| document::bad_input(&[fault]))?;
    Ok(tree.filter(|tree| matches!(tree.value, Value::Map(_))))
}

enum Is {
    There(Vec<u8>),
    Redacted,
    Absent,
}

struct Tools {
    /// Those that are there.
    programs: Vec<(PathBuf, Option<&'static str>)>,
}

impl Tools {
    fn of(paths: &Paths) -> Tools {
        let programs: Vec<_> = TOOLS.into_iter().map(|(path, before)| (paths.host(path), before)).collect();
        let programs: Vec<_> = programs.into_iter().filter(|(path, _)| path.is_file()).collect();
        if programs.is_empty() {
            tracing::warn!(
                "this is VMware, and there is no {} to read guestinfo with: give a volume, or the tools",
                TOOLS[0].0
            );
        }
        Tools { programs }
    }

    /// The value of `guestinfo.KEY`, without what its `.encoding` says it is packed in.
    async fn value(&self, key: &str) -> Result<Is> {
        let Some(value) = self.get(key).await? else { return Ok(Is::Absent) };
        let encoding = self.get(&format!("{key}.encoding")).await?.unwrap_or_default();
        if value.trim() == REDACTED {
            return Ok(Is::Redacted);
        }
        let bytes = match encoding.trim().to_ascii_lowercase().as_str() {
            "" | REDACTED => Ok(value.into_bytes()),
            "b64" | "base64" => unpack::base64(value.as_bytes()),
            "gz+b64" | "gzip+base64" | "gz+base64" | "gzip+b64" => {
                unpack::base64(value.as_bytes()).and_then(|bytes| unpack::gunzip(&bytes))
            }
            _ => Err("its .encoding is not known: write base64 or gzip+base64, or none".into()),
        };
        bytes.map(Is::There).map_err(|why| Exit::BadInput.because(format!("guestinfo.{key}: {why}")))
    }

    /// A value that is not blank.
    async fn get(&self, key: &str) -> Result<Option<String>> {
        let value = self.run(&format!("info-get guestinfo.{key}")).await?;
        Ok(value.filter(|value| !value.trim().is_empty()))
    }

    /// What the first tool that may says; nothing where there is no value, or no tool.
    async fn run(&self, command: &str) -> Result<Option<String>> {
        let mut denied = None;
        for (program, before) in &self.programs {
            let program = program.display().to_string();
            let arguments = before.iter().map(|word| (*word).to_owned()).chain([command.to_owned()]).collect();
            let ran = process::run(Program { program: &program, arguments, owner: None, timeout: TIMEOUT }).await;
            match ran.map_err(|error| (format!("{error:#}").to_lowercase(), error)) {
                Ok(value) => return Ok(Some(value)),
                Err((said, _)) if said.contains("no value") => return Ok(None),
                Err((said, error)) if said.contains("permission denied") => denied = Some(error),
                Err((_, error)) => return Err(error),
            }
        }
        denied.map_or(Ok(None), |error| Err(Exit::Permission.because(format!("guestinfo cannot be read: {error:#}"))))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::sys::fs;

    const UUID: &str = "4220b5b2-1a0e-4e5f-8f2a-5f2b0c3d4e5f";

    /// A tool whose values are files; what has none it answers as VMware's does.
    const TOOL: &str = "#!/bin/sh
[ \"$1\" != --cmd ] || shift
set -- $1
case $1 in
info-get) cat \"$(dirname \"$0\")/$2\" 2>/dev/null || { echo 'No value found' >&2; exit 1; } ;;
info-set) echo \"$3\" >\"$(dirname \"$0\")/$2\" ;;
esac
";

    fn machine(values: &[(&str, &str)], tools: &[(&str, &str)]) -> (tempfile::TempDir, Paths) {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("usr/bin");
        fs::create_dir(&bin, 0o755, None).unwrap();
        for (tool, text) in tools {
            fs::write_atomic(&bin.join(tool), text.as_bytes(), 0o755, None).unwrap();
            assert_eq!(std::fs::metadata(bin.join(tool)).unwrap().permissions().mode() & 0o111, 0o111);
        }
        for (key, value) in values {
            fs::write_atomic(&bin.join(format!("guestinfo.{key}")), value.as_bytes(), 0o600, None).unwrap();
        }
        let paths = Paths::under(root.path());
        (root, paths)
    }

    /// ID, name, user-data and our own key; or exit code and message.
    async fn told(values: &[(&str, &str)], tools: &[(&str, &str)]) -> String {
        let (_root, paths) = machine(values, tools);
        let dmi = Dmi { product_uuid: UUID.into(), ..Dmi::default() };
        match read(&paths, &dmi, None).await {
            Ok(machine) => {
                let text = |bytes: &Bytes| String::from_utf8(bytes.0.clone()).unwrap();
                let own = machine.own.as_ref().map(|(key, bytes)| format!("{key}={}", text(bytes)));
                format!(
                    "{} {:?} {:?} {own:?}",
                    machine.instance_id,
                    machine.hostname,
                    machine.user_data.as_ref().map(text)
                )
            }
            Err(error) => format!("{} {error:#}", Exit::of(&error) as u8),
        }
    }

    #[tokio::test]
    async fn guestinfo_is_read_as_cloud_init_reads_it_with_a_key_of_ours_beside() {
        let tool = [("vmware-rpctool", TOOL)];
        let denied = "#!/bin/sh\necho 'Failed: Permission denied' >&2\nexit 1\n";
        let nothing = format!("{UUID} None None None");
        for (values, tools, expected) in [
            (&[][..], &tool[..], nothing.clone()),
            (&[("userdata", "---\n"), ("metadata", "  ")], &tool, nothing.clone()),
            (&[("userdata", "#cloud-config\n")], &[], nothing.clone()),
            (
                &[("metadata", "instance-id: vm-1\nlocal-hostname: etcd-1\n"), ("userdata", "#cloud-config\n")],
                &tool,
                r##"vm-1 Some("etcd-1") Some("#cloud-config\n") None"##.to_owned(),
            ),
            (
                &[("userdata", "I2Nsb3Vk\nLWNvbmZpZwo="), ("userdata.encoding", "base64\n")],
                &tool,
                format!(r##"{UUID} None Some("#cloud-config\n") None"##),
            ),
            (
                &[("etcd-bootstrapper", "version: 1\n")],
                &[("vmware-rpctool", denied), ("vmtoolsd", TOOL)],
                format!(r#"{UUID} None None Some("guestinfo.etcd-bootstrapper=version: 1\n")"#),
            ),
            (
                &[("userdata", "x"), ("userdata.encoding", "rot13")],
                &tool,
                "65 guestinfo.userdata: its .encoding is not known: write base64 or gzip+base64, or none".to_owned(),
            ),
            (
                &[("userdata", "%"), ("userdata.encoding", "b64")],
                &tool,
                "65 guestinfo.userdata: this is not base64, or cut short: encode it with `base64`".to_owned(),
            ),
        ] {
            assert_eq!(told(values, tools).await, expected, "{values:?}");
        }
        let said = told(&[], &[("vmware-rpctool", denied)]).await;
        assert!(said.starts_with("77 guestinfo cannot be read: ") && said.contains("Permission denied"), "{said}");
    }

    const USER: &str = "#etcd-bootstrapper\ntls: {ca: {key: \"PRIVATE KEY\"}}\n";

    #[tokio::test]
    async fn a_private_key_is_put_out_of_sight_once_it_is_kept_and_is_still_there_for_us() {
        let (_root, paths) =
            machine(&[("userdata", USER), ("etcd-bootstrapper", "mode: auto\n")], &[("vmware-rpctool", TOOL)]);
        let dmi = Dmi { product_uuid: UUID.into(), ..Dmi::default() };
        let first = read(&paths, &dmi, None).await.unwrap();
        redact(&paths, &first).await.unwrap();
        let left = |key: &str| std::fs::read_to_string(paths.host(&format!("/usr/bin/guestinfo.{key}"))).unwrap();
        assert_eq!((left("userdata").as_str(), left("etcd-bootstrapper").as_str()), ("---\n", "mode: auto\n"));
        let again = read(&paths, &dmi, Some(&first)).await.unwrap();
        assert!(again == first, "what was kept is what it says");
        assert!(read(&paths, &dmi, None).await.unwrap().user_data.is_none(), "another machine has nothing of it");
        let (_root, paths) = machine(&[("userdata", "#cloud-config\n# PRIVATE KEY\n")], &[("vmware-rpctool", TOOL)]);
        redact(&paths, &read(&paths, &dmi, None).await.unwrap()).await.unwrap();
        assert!(read(&paths, &dmi, None).await.unwrap().user_data.is_some(), "what is not ours stays");
    }
}
