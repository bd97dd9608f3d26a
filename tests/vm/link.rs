//! The metadata services of platforms at 169.254.169.254, those of `tests/it`: each machine is answered by its own
//! platform's, which tells machines apart by their addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::wire::{Asked, Log, Reply, Service, accept, service};
use crate::world::{LINK, Seat, WIRESERVER};

/// All of them, for as long as the process lives.
#[derive(Clone)]
pub struct Link {
    told: Arc<Mutex<BTreeMap<IpAddr, Service>>>,
    log: Log,
}

impl Link {
    /// Listens, and answers nobody yet.
    pub fn listen() -> Result<Link> {
        let told = Arc::<Mutex<BTreeMap<IpAddr, Service>>>::default();
        let known = told.clone();
        accept(TcpListener::bind((WIRESERVER, 80))?, wireserver());
        let listener = TcpListener::bind((LINK, 80)).with_context(|| format!("cannot listen on {LINK}"))?;
        let log = accept(
            listener,
            service(move |asked| {
                let own = locked(&known).get(&asked.from.ip()).cloned();
                own.map_or_else(|| Reply::new(404, ""), |own| own(asked))
            }),
        );
        Ok(Link { told, log })
    }

    /// From now on the machine in this place is answered by this service.
    pub fn tell(&self, seat: Seat, service: Service) {
        locked(&self.told).insert(seat.address().into(), service);
    }

    /// What the machine in this place has asked.
    pub fn asked_by(&self, seat: Seat) -> Vec<Asked> {
        self.log.all().into_iter().filter(|asked| asked.from.ip() == IpAddr::from(seat.address())).collect()
    }

    /// Fails when a machine has asked whose firmware vouches for nobody there.
    pub fn no_stranger(&self) -> Result<()> {
        let told = locked(&self.told);
        let strangers: Vec<_> = self.log.all().into_iter().filter(|a| !told.contains_key(&a.from.ip())).collect();
        ensure!(strangers.is_empty(), "{LINK} was asked by machines of no platform that answers there: {strangers:?}");
        Ok(())
    }
}

/// A service whose documents are changed in what is this machine's own; headers, tokens and refusals stay what they are.
pub fn of_this_machine(service_of_all: Service, change: impl Fn(&mut Value) + Send + Sync + 'static) -> Service {
    service(move |asked| {
        let reply = service_of_all(asked);
        match serde_json::from_slice::<Value>(&reply.body) {
            Ok(mut document) if reply.status == 200 && document.is_object() => {
                change(&mut document);
                Reply { body: document.to_string().into_bytes(), ..reply }
            }
            Ok(_) | Err(_) => reply,
        }
    })
}

/// Azure's fabric, by what its agent and cloud-init ask of it: which role this is, and that it is ready.
fn wireserver() -> Service {
    service(|asked| match (asked.method.as_str(), asked.path.as_str()) {
        _ if asked.header("x-ms-version").is_none() && asked.method == "GET" => Reply::new(400, ""),
        ("GET", "/machine/?comp=goalstate") => Reply::new(
            200,
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><GoalState><Version>2012-11-30</Version><Incarnation>1</Incarnation>\
             <Container><ContainerId>c</ContainerId><RoleInstanceList><RoleInstance><InstanceId>i</InstanceId>\
             </RoleInstance></RoleInstanceList></Container></GoalState>",
        ),
        ("POST", "/machine?comp=health") => Reply::new(200, ""),
        _ => Reply::new(404, ""),
    })
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
