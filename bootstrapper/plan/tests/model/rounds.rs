//! A host's round: it hears the others, decides, and does what it decided, and at any moment in between others act.
//!
//! An answer that is still the same can as well be heard later, and a decision that would still be made can as well be
//! made later. So nothing is remembered of a round while nobody acts. When somebody does, each other host may have heard
//! the old answer before, or may have decided before what it would not decide any more; only that is kept.

use std::cell::RefCell;
use std::rc::Rc;

use super::parts::{Claim, Cluster, Host, Id, MAX, Members, Mind, Place, Plan, STORE, Seen, T};
use super::search::Map;
use super::view::{Outcome, View};
use super::world::{Config, World};

/// What somebody had heard or decided when another acted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stale {
    /// This host had heard those.
    Heard(usize, Vec<u8>),
    /// This host had decided this.
    Decided(usize, Plan),
}

/// All that a round of one host depends on.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Scene {
    config: Rc<Config>,
    h: usize,
    me: Rc<Host>,
    now: [Option<Seen>; MAX],
    lists: Vec<(T, Members)>,
    starting: Vec<Id>,
    claim: Option<Option<Claim>>,
    silent: bool,
    places: [Place; MAX],
}

thread_local! {
    /// Hosts see the same things again and again.
    static ROUNDS: RefCell<Map<Scene, Rc<Vec<Outcome>>>> = RefCell::default();
    static SURPLUS: RefCell<Map<Scene, Rc<Vec<Plan>>>> = RefCell::default();
    static DECIDED: RefCell<Map<View, Outcome>> = RefCell::default();
}

/// Makes room before another search.
pub fn forget() {
    ROUNDS.take();
    SURPLUS.take();
    DECIDED.take();
}

/// What each host answers at one moment.
pub type Answers = [Option<Seen>; MAX];

/// Every way in which a round of this host can end, the one with everything heard first.
pub fn outcomes(world: &World, answers: &Answers, h: usize) -> Rc<Vec<Outcome>> {
    let scene = Scene::of(world, answers, h);
    if let Some(known) = ROUNDS.with_borrow(|rounds| rounds.get(&scene).cloned()) {
        return known;
    }
    let mut outcomes: Vec<Outcome> = Vec::new();
    scene.each_view(&mut |view| {
        let outcome = decide(view);
        if !outcomes.iter().any(|o| o.plan == outcome.plan) {
            outcomes.push(outcome);
        }
    });
    let outcomes = Rc::new(outcomes);
    ROUNDS.with_borrow_mut(|rounds| rounds.insert(scene, outcomes.clone()));
    outcomes
}

/// What a member that serves may do about one voter too many, whatever it hears.
pub fn surplus(world: &World, h: usize) -> Rc<Vec<Plan>> {
    if !world.config.group || !world.hosts.iter().any(|host| host.place == Place::Gone) {
        return Rc::default();
    }
    let scene = Scene::of(world, &world.answers(), h);
    if let Some(known) = SURPLUS.with_borrow(|surplus| surplus.get(&scene).cloned()) {
        return known;
    }
    let mut plans = Vec::new();
    scene.each_view(&mut |view| {
        let plan = view.surplus();
        if !plan.is_empty() && !plans.contains(&plan) {
            plans.push(plan);
        }
    });
    let plans = Rc::new(plans);
    SURPLUS.with_borrow_mut(|surplus| surplus.insert(scene, plans.clone()));
    plans
}

fn decide(view: View) -> Outcome {
    if let Some(known) = DECIDED.with_borrow(|decided| decided.get(&view).cloned()) {
        return known;
    }
    let outcome = view.decide();
    DECIDED.with_borrow_mut(|decided| decided.insert(view, outcome.clone()));
    outcome
}

impl Scene {
    fn of(world: &World, answers: &Answers, h: usize) -> Scene {
        let mut now = answers.clone();
        now[h] = None;
        // A list comes from a cluster of which somebody answers.
        let named = |c: &&Cluster| now.iter().flatten().any(|seen| matches!(seen, Seen::Etcd { t, .. } if *t == c.t));
        let serving = world.shared.clusters.iter().filter(named).filter(|c| world.serves(c));
        let lists: Vec<(T, Members)> = serving.map(|c| (c.t, c.current())).collect();
        let learners = lists.iter().flat_map(|(_, list)| list).filter(|m| m.learner).map(|m| m.id);
        let theirs = |id: &Id| world.hosts.iter().any(|h| [h.added, h.joined].iter().flatten().any(|m| m.1 == *id));
        let starting = learners.filter(theirs).collect();
        let mut places = [Place::NotYet; MAX];
        if world.config.group {
            world.hosts.iter().enumerate().for_each(|(p, host)| places[p] = host.place);
        }
        let claim = world.config.store.then(|| world.shared.claim.clone());
        // What only numbers the next life and the next learner is not seen.
        let me = match &world.hosts[h] {
            host if (host.lives, host.joins) == (0, 0) => host.clone(),
            host => Rc::new(Host { lives: 0, joins: 0, ..Host::clone(host) }),
        };
        let silent = world.shared.may.missing > 0;
        Scene { config: world.config.clone(), h, me, now, lists, starting, claim, silent, places }
    }

    fn each_view(&self, see: &mut dyn FnMut(View)) {
        let mut me = Host::clone(&self.me);
        let before = match std::mem::take(&mut me.mind) {
            Mind::Heard(before) => before,
            Mind::Decided(_) => return,
        };
        let old = |source: usize| before.iter().find(|(s, _)| usize::from(*s) == source).map(|(_, seen)| seen.clone());
        let claims: Vec<Option<Option<Claim>>> = match (&self.claim, old(STORE)) {
            (None, _) => vec![None],
            (Some(_), Some(Seen::Claim(claim))) => vec![Some(claim)],
            (Some(now), _) => vec![Some(now.clone()), None],
        };
        let groups = self.groups();
        // A source that was heard in this round is not asked again in it.
        let asked: Vec<usize> = (0..MAX).filter(|p| self.now[*p].is_some() && old(*p).is_none()).collect();
        for silent in 0..1u32 << asked.len() {
            let heard: [Option<Seen>; MAX] = std::array::from_fn(|p| match asked.iter().position(|a| *a == p) {
                Some(bit) if silent & 1 << bit != 0 => None,
                Some(_) => self.now[p].clone(),
                None => old(p),
            });
            for claim in &claims {
                for group in &groups {
                    for list in self.lists(&heard) {
                        let mut view = View {
                            config: self.config.clone(),
                            h: self.h,
                            me: me.clone(),
                            heard: heard.clone(),
                            starting: if list.is_some() { self.starting.clone() } else { Vec::new() },
                            list,
                            claim: claim.clone(),
                            silent: self.silent,
                            group: group.clone(),
                        };
                        let whom = view.whom();
                        let nobody_asks = |p: usize| self.now[p].is_some() && !whom[p];
                        // Whom nobody asks may as well answer, and as well not: one view of it is enough.
                        let seen = asked.iter().any(|p| nobody_asks(*p) && view.heard[*p].is_none());
                        if !seen && (view.list.is_none() || view.had_the_list_from(&whom)) {
                            (0..MAX).filter(|p| !whom[*p]).for_each(|p| view.heard[p] = None);
                            see(view);
                        }
                    }
                }
            }
        }
    }

    /// The linearizable list is asked for last, of whoever answered.
    fn lists(&self, heard: &[Option<Seen>; MAX]) -> Vec<Option<(T, Members)>> {
        let had =
            |t: &T| heard.iter().flatten().any(|seen| matches!(seen, Seen::Etcd { t: theirs, .. } if theirs == t));
        let mut lists: Vec<_> = self.lists.iter().filter(|(t, _)| had(t)).cloned().map(Some).collect();
        lists.push(None);
        lists
    }

    /// What the provider may list: all, all but one, one that is terminated as if it ran, or nothing at all.
    fn groups(&self) -> Vec<Option<Vec<(u8, bool)>>> {
        if !self.config.group {
            return vec![None];
        }
        let launched = (0..MAX as u8).filter(|h| self.places[usize::from(*h)] != Place::NotYet);
        let all: Vec<(u8, bool)> = launched.map(|h| (h, self.places[usize::from(h)] == Place::Gone)).collect();
        let mut groups = vec![Some(all.clone()), None];
        for (i, (_, ended)) in all.iter().enumerate() {
            let mut short = all.clone();
            short.remove(i);
            groups.push(Some(short));
            if *ended {
                let mut late = all.clone();
                late[i].1 = false;
                groups.push(Some(late));
            }
        }
        groups
    }
}

/// A world before somebody acts: what is answered, and what would be decided.
pub struct Before<'w> {
    pub world: &'w World,
    pub answers: Answers,
    /// Of each host that looks around.
    pub outcomes: [Option<Rc<Vec<Outcome>>>; MAX],
}

impl<'w> Before<'w> {
    pub fn of(world: &'w World) -> Before<'w> {
        let answers = world.answers();
        let looks = |h: &usize| *h < world.hosts.len() && has_rounds(&world.hosts[*h]);
        let outcomes = std::array::from_fn(|h| Some(h).filter(looks).map(|h| outcomes(world, &answers, h)));
        Before { world, answers, outcomes }
    }

    /// The worlds after somebody acted: with what each other host may have heard and decided before.
    pub fn with_memories(&self, actor: Option<usize>, after: World) -> Vec<(Vec<Stale>, World)> {
        let now = after.answers();
        let differ = |p: &usize| now[*p] != self.answers[*p];
        let old = |p: usize| Some((p as u8, self.answers[p].clone()?));
        let mut changed: Vec<(u8, Seen)> = (0..MAX).filter(differ).filter_map(old).collect();
        if self.world.shared.claim != after.shared.claim {
            changed.push((STORE as u8, Seen::Claim(self.world.shared.claim.clone())));
        }
        let late = |world: &World| world.hosts.iter().filter(|h| h.mind != Mind::default()).count();
        let mut worlds = vec![(Vec::new(), after)];
        let room = late(&worlds[0].1) < self.world.config.late;
        let may_be_late = |h: &usize| Some(*h) != actor && (room || self.world.hosts[*h].mind != Mind::default());
        for h in (0..self.world.hosts.len()).filter(may_be_late) {
            for (stale, mind) in self.memories(&worlds[0].1, &now, h, &changed) {
                for i in 0..worlds.len() {
                    let (stales, world) = &worlds[i];
                    // One mind a host, and only so many that are late.
                    let new = world.hosts[h].mind == Mind::default();
                    let taken = stales.iter().any(|s: &Stale| s.host() == h);
                    if taken || new && late(world) >= self.world.config.late {
                        continue;
                    }
                    let (mut stales, mut world) = worlds[i].clone();
                    stales.push(stale.clone());
                    world.host(h).mind = mind.clone();
                    worlds.push((stales, world));
                }
            }
        }
        worlds
    }

    /// What one host may have in mind of the world before.
    fn memories(&self, after: &World, now: &Answers, h: usize, changed: &[(u8, Seen)]) -> Vec<(Stale, Mind)> {
        let (Some(old), Mind::Heard(heard)) = (&self.outcomes[h], &self.world.hosts[h].mind) else {
            return Vec::new();
        };
        let mut minds = Vec::new();
        let others = self.world.hosts.len() - 1 + usize::from(self.world.config.store);
        let new = |source: u8| usize::from(source) != h && !heard.iter().any(|(s, _)| *s == source);
        let changed: Vec<&(u8, Seen)> = changed.iter().filter(|(source, _)| new(*source)).collect();
        for some in 1..1u32 << changed.len() {
            let chosen = (0..changed.len()).filter(|i| some & 1 << i != 0).map(|i| changed[i]);
            let sources: Vec<u8> = chosen.clone().map(|(source, _)| *source).collect();
            // Who has heard everybody decides at once.
            if heard.len() + sources.len() < others {
                let mut all: Vec<(u8, Seen)> = heard.iter().chain(chosen).cloned().collect();
                all.sort_by_key(|(source, _)| *source);
                minds.push((Stale::Heard(h, sources), Mind::Heard(all)));
            }
        }
        if old.iter().all(|o| o.starts || o.plan.is_empty()) {
            return minds;
        }
        // What would still be decided can as well be decided later.
        let new = outcomes(after, now, h);
        let outdated = old.iter().filter(|o| !o.starts && !o.plan.is_empty() && !new.iter().any(|n| n.plan == o.plan));
        minds.extend(outdated.map(|o| (Stale::Decided(h, o.plan.clone()), Mind::Decided(o.plan.clone()))));
        minds
    }
}

impl Stale {
    fn host(&self) -> usize {
        match self {
            Stale::Heard(h, _) | Stale::Decided(h, _) => *h,
        }
    }
}

/// Whether this host looks around: a member that runs does not.
pub fn has_rounds(host: &Host) -> bool {
    host.place == Place::Here && !(host.running && host.log > 0 && !host.own)
}
