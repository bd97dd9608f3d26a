//! What etcd does by itself, what `finish` does beside it, and what befalls hosts and disks.

use super::parts::{Claim, Cluster, Entry, Host, Mind, NOBODY, Place, State, T};
use super::rounds::surplus;
use super::rules::Rule;
use super::steps::Next;
use super::tell::What;
use super::world::{Faults, World, quorum};

impl World {
    pub fn etcds(&self, next: &mut Next) {
        for t in self.unled() {
            self.leads(&t, next);
        }
        for cluster in self.shared.clusters.iter().filter(|c| self.serves(c)) {
            let (t, members, full) = (cluster.t, cluster.current(), cluster.log.len() as u8);
            if self.shared.may.write > 0 {
                for quorum in self.quorums(&t, cluster) {
                    let mut world = self.clone();
                    world.shared().may.write -= 1;
                    world.appends(&t, Entry::Write, Some(&quorum));
                    next.push(What::Writes(quorum), None, world);
                }
            }
            for h in self.here().filter(|h| self.hosts[*h].running) {
                let Some((_, id)) = self.hosts[h].member(h).filter(|m| m.0 == t) else { continue };
                let mut world = self.clone();
                match members.iter().find(|m| m.id == id) {
                    None => {
                        world.host(h).running = false;
                        next.push(What::Ends(h), None, world);
                    }
                    Some(_) if self.hosts[h].log < full => {
                        world.hears_leader(&t, h, full);
                        world.host(h).own = false;
                        next.push(What::Follows(h), None, world);
                    }
                    Some(member) if member.learner => {
                        world.appends(&t, Entry::Promote(id), None);
                        next.push(What::Promotes(h), None, world);
                    }
                    Some(_) => {
                        self.claims(h, cluster, next);
                        for plan in surplus(self, h).iter() {
                            self.carries_out(h, plan, false, next);
                        }
                    }
                }
            }
        }
    }

    /// The foundings that etcds run in and that never had a leader.
    fn unled(&self) -> Vec<T> {
        let running = self.here().filter(|h| self.hosts[*h].running && self.hosts[*h].joined.is_none());
        let mut unled: Vec<T> = running.filter_map(|h| self.hosts[h].member(h)).map(|m| m.0).collect();
        unled.retain(|t| self.cluster(t).is_none());
        unled.sort();
        unled.dedup();
        unled
    }

    /// A quorum elects its first leader.
    fn leads(&self, t: &T, next: &mut Next) {
        let cluster = Cluster { t: *t, log: Vec::new(), started: Vec::new() };
        for quorum in self.quorums(t, &cluster) {
            let leaders = if self.config.rule == Rule::OwnEntriesAreNothing { &quorum[..] } else { &quorum[..1] };
            for leader in leaders {
                let mut world = self.clone();
                world.shared().clusters.push(cluster.clone());
                world.shared().clusters.sort_by_key(|c| c.t);
                world.appends(t, Entry::First, Some(&quorum));
                world.host(*leader).own = self.config.rule == Rule::OwnEntriesAreNothing;
                next.push(What::Leads(quorum.clone()), None, world);
            }
        }
    }

    /// Each smallest quorum of running voters in which somebody has the whole log.
    fn quorums(&self, t: &T, cluster: &Cluster) -> Vec<Vec<usize>> {
        let (members, full) = (cluster.current(), cluster.log.len() as u8);
        let (up, needed) = (self.up(t, &members, |_| true), quorum(&members));
        let of = |some: u32| (0..up.len()).filter(|i| some & 1 << i != 0).map(|i| up[i]).collect::<Vec<_>>();
        let quorums = (0..1u32 << up.len()).filter(|some| some.count_ones() as usize == needed).map(of);
        quorums.filter(|q| q.iter().any(|h| self.hosts[*h].log == full)).collect()
    }

    /// A voter that sees quorum writes the store's claim, unless it is another's.
    fn claims(&self, h: usize, cluster: &Cluster, next: &mut Next) {
        let mut voters = [NOBODY; super::parts::MAX];
        for member in cluster.current().iter().filter(|m| !m.learner) {
            let host = usize::from(member.id.host);
            let disk = self.disks(&cluster.t, member.id).next().map(|d| self.hosts[d].nonce);
            let before = self.shared.claim.as_ref().map_or(cluster.t.nonces[host], |c| c.voters[host]);
            voters[host] = disk.unwrap_or(before);
        }
        let claim = Claim { state: State::Founded, t: cluster.t, voters };
        let ours = match &self.shared.claim {
            None | Some(Claim { state: State::Founding, .. }) => true,
            Some(claim) => claim.t == cluster.t,
        };
        if self.config.store && ours && self.shared.claim.as_ref() != Some(&claim) {
            let mut world = self.clone();
            world.shared().claim = Some(claim);
            next.push(What::Claims(h), None, world);
        }
    }

    pub fn faults(&self, next: &mut Next) {
        // The instances that are not launched yet are alike.
        if let Some(h) = (0..self.hosts.len()).find(|h| self.hosts[*h].place == Place::NotYet) {
            let replaces = self.here().count() < self.config.size;
            if replaces || self.shared.may.total > 0 && self.shared.may.surge > 0 {
                self.fault(What::Launches(h), next, |w| {
                    if !replaces {
                        w.spend(|may| &mut may.surge);
                    }
                    w.host(h).place = Place::Here;
                });
            }
        }
        for h in self.here() {
            let host = &self.hosts[h];
            // A crash of a bootstrapper undoes only what is not durable.
            if host.said.is_some() {
                self.fault(What::Crashes(h), next, |w| w.host(h).said = None);
            }
            // Who has edited one spec edits the others too.
            let edited = self.shared.may.edit < self.config.may.edit;
            if host.epoch == 1 && edited {
                self.fault(What::IsEdited(h), next, |w| {
                    (w.host(h).epoch, w.host(h).mind) = (2, Mind::default());
                });
            }
            if self.shared.may.total > 0 {
                self.faults_of(h, next);
            }
        }
    }

    fn faults_of(&self, h: usize, next: &mut Next) {
        let (host, may) = (&self.hosts[h], self.shared.may);
        if may.crash > 0 && host.running {
            self.fault(What::Crashes(h), next, |w| {
                w.spend(|may| &mut may.crash);
                (w.host(h).running, w.host(h).mind) = (false, Mind::default());
            });
        }
        if may.loss > 0 {
            self.fault(What::LosesItsDisk(h), next, |w| {
                w.spend(|may| &mut may.loss);
                *w.host(h) = host.blank(h);
            });
        }
        if may.gone > 0 {
            self.fault(What::IsGone(h), next, |w| {
                w.spend(|may| &mut may.gone);
                *w.host(h) = Host { place: Place::Gone, ..host.blank(h) };
            });
        }
        if may.edit > 0 && host.epoch == 1 {
            self.fault(What::IsEdited(h), next, |w| {
                w.spend(|may| &mut may.edit);
                (w.host(h).epoch, w.host(h).mind) = (2, Mind::default());
            });
        }
        for to in self.here().filter(|to| *to != h && may.clone > 0) {
            self.fault(What::IsCopied(h, to), next, |w| {
                w.spend(|may| &mut may.clone);
                *w.host(to) = copy(host, &self.hosts[to]);
            });
        }
    }

    fn spend(&mut self, of: impl FnOnce(&mut Faults) -> &mut u8) {
        let may = &mut self.shared().may;
        *of(may) -= 1;
        may.total -= 1;
    }

    fn fault(&self, what: What, next: &mut Next, befalls: impl FnOnce(&mut World)) {
        let mut world = self.clone();
        befalls(&mut world);
        let actor = what.host();
        next.push(what, Some(actor), world);
    }
}

/// A disk with all that is durable on it, in front of another host.
fn copy(disk: &Host, to: &Host) -> Host {
    let foreign = disk.foreign || disk.committed.is_some() || disk.joined.is_some() && disk.log > 0;
    let (place, epoch, lives, joins) = (to.place, to.epoch, to.lives, to.joins);
    Host { place, epoch, lives, joins, foreign, running: false, said: None, mind: Mind::default(), ..disk.clone() }
}
