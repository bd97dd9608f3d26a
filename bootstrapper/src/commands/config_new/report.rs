//! What `config new` tells: what was made, and what to do with it.

use plan::member::ClientUrl;
use plan::spec::Timestamp;
use serde::Serialize;

use super::Made;
use super::arguments::Arguments;

#[derive(Serialize)]
pub(super) struct Report {
    cluster: String,
    directory: String,
    files: Vec<File>,
    endpoints: Vec<ClientUrl>,
    ca_not_after: Timestamp,
    found_until: Timestamp,
    ca_key: &'static str,
    ca_key_credential: Option<String>,
}

#[derive(Serialize)]
struct File {
    name: &'static str,
    what: &'static str,
    secret: bool,
}

impl Report {
    pub(super) fn of(arguments: &Arguments, made: &Made) -> Report {
        let files = made.files.iter().map(|f| File { name: f.name, what: f.what, secret: f.secret });
        Report {
            cluster: arguments.name.to_string(),
            directory: arguments.out.display().to_string(),
            files: files.collect(),
            endpoints: arguments.endpoints(),
            ca_not_after: Timestamp(made.ca_ends),
            found_until: Timestamp(made.found_until),
            ca_key: arguments.secrets.name(),
            ca_key_credential: arguments.secrets.credential().map(str::to_owned),
        }
    }
}

pub(super) fn text(arguments: &Arguments, made: &Made) -> String {
    let dir = arguments.out.display();
    let members = if arguments.size == 1 { "1 member".into() } else { format!("{} members", arguments.size) };
    let mut text = format!("Made the etcd cluster {} ({members}) in {dir}/\n\n", arguments.name);
    for file in &made.files {
        let mark = if file.secret { "SECRET" } else { "" };
        text.push_str(format!("  {:<26} {mark:<7} {}", file.name, file.what).trim_end());
        text.push('\n');
    }
    text.push_str(&format!(
        "\nKeep what is marked SECRET out of version control and tickets. The CA ends on {}, the client\n\
         certificates with it.\n\nNext\n\n",
        Timestamp(made.ca_ends)
    ));
    text.push_str(&deliver(arguments, made));
    let mut endpoints: Vec<String> = arguments.endpoints().iter().map(ToString::to_string).collect();
    if endpoints.is_empty() {
        endpoints.push("https://ADDRESS-OF-A-MEMBER:2379".into());
    }
    text.push_str(&format!(
        "\n2. Look at it:\n\n   etcdctl --endpoints {} \\\n     --cacert {dir}/ca.crt --cert {dir}/admin.crt --key {dir}/admin.key \\\n     member list -w table\n",
        endpoints.join(",")
    ));
    text.push_str(&kubeadm(&dir.to_string(), &endpoints));
    text
}

fn deliver(arguments: &Arguments, made: &Made) -> String {
    let dir = arguments.out.display();
    let mut text = format!(
        "1. Give {dir}/user-data to every member, the same file to all, and start them. They found the cluster\n\
         \x20  together, before {}; after that, an empty fleet waits for a person.\n",
        Timestamp(made.found_until)
    );
    text.push_str(&arguments.secrets.deliver(&dir.to_string()));
    text
}

fn kubeadm(dir: &str, endpoints: &[String]) -> String {
    let endpoints: String = endpoints.iter().map(|e| format!("         - {e}\n")).collect();
    format!(
        "\n3. For Kubernetes, copy to each control-plane host\n\n\
         \x20    {dir}/ca.crt                     to /etc/kubernetes/pki/etcd/ca.crt\n\
         \x20    {dir}/apiserver-etcd-client.crt  to /etc/kubernetes/pki/apiserver-etcd-client.crt\n\
         \x20    {dir}/apiserver-etcd-client.key  to /etc/kubernetes/pki/apiserver-etcd-client.key\n\n\
         \x20  and write into kubeadm's ClusterConfiguration:\n\n\
         \x20    etcd:\n\
         \x20      external:\n\
         \x20        endpoints:\n{endpoints}\
         \x20        caFile: /etc/kubernetes/pki/etcd/ca.crt\n\
         \x20        certFile: /etc/kubernetes/pki/apiserver-etcd-client.crt\n\
         \x20        keyFile: /etc/kubernetes/pki/apiserver-etcd-client.key\n"
    )
}
