//! Breadth-first search over all that can happen, with the shortest way to what must not.
//!
//! A world is kept as the numbers of its parts, a few bytes each, after its hosts were put into one order of all those
//! that are the same world.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::parts::{Host, Step};
use super::rounds::{has_rounds, outcomes};
use super::tell::Event;
use super::turn::Turn;
use super::view::Outcome;
use super::world::{Shared, World};

/// Fast and good enough: the worlds are hashed more often than anything else happens to them.
#[derive(Clone, Copy, Default)]
pub struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }
    fn write_u8(&mut self, n: u8) {
        self.write_u64(n.into());
    }
    fn write_u32(&mut self, n: u32) {
        self.write_u64(n.into());
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }
    fn write_isize(&mut self, n: isize) {
        self.write_u64(n as u64);
    }
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 29
    }
}

pub type Map<K, V> = HashMap<K, V, BuildHasherDefault<Mix>>;

/// Parts of worlds by number, and what each is when the hosts change places.
struct Parts<P> {
    numbers: Map<Rc<P>, u32>,
    /// The same by where each lies, which is found faster.
    lies: Map<usize, u32>,
    all: Vec<Rc<P>>,
    turned: Vec<Vec<u32>>,
}

/// Not computed yet.
const UNKNOWN: u32 = u32::MAX;

impl<P: Hash + Eq> Parts<P> {
    fn new(turns: usize) -> Parts<P> {
        Parts { numbers: Map::default(), lies: Map::default(), all: Vec::new(), turned: vec![Vec::new(); turns] }
    }

    fn number(&mut self, part: &Rc<P>) -> u32 {
        let lies = Rc::as_ptr(part) as usize;
        if let Some(number) = self.lies.get(&lies).or_else(|| self.numbers.get(part)) {
            return *number;
        }
        let number = self.all.len() as u32;
        self.numbers.insert(part.clone(), number);
        self.lies.insert(lies, number);
        self.all.push(part.clone());
        self.turned.iter_mut().for_each(|of| of.push(UNKNOWN));
        number
    }

    fn turned(&mut self, number: u32, turn: usize, by: impl FnOnce(&P) -> P) -> u32 {
        let known = self.turned[turn][number as usize];
        if known != UNKNOWN {
            return known;
        }
        let turned = Rc::new(by(&self.all[number as usize]));
        let turned = self.number(&turned);
        self.turned[turn][number as usize] = turned;
        turned
    }
}

/// All worlds that can be reached, and how.
pub struct Reached {
    first: World,
    turns: Vec<Turn>,
    hosts: Parts<Host>,
    shared: Parts<Shared>,
    /// Each world: the numbers of its hosts and of what they share.
    worlds: Vec<u32>,
    places: Map<u64, u32>,
    /// Of each world: from which it came.
    from: Vec<u32>,
    /// Of each world: where those begin that can come next without a fault.
    next: Vec<u32>,
    edges: Vec<u32>,
    /// The first world that is wrong, and why.
    pub wrong: Option<(u32, &'static str)>,
    /// Whether all of it was seen.
    pub finished: bool,
    pub took: Duration,
}

/// Follows everything that can happen, until it is all seen, something is wrong, or the time or the room is over.
pub fn search(first: World, until: Option<Instant>, most: usize) -> Reached {
    let began = Instant::now();
    super::rounds::forget();
    let turns = Turn::all(first.hosts.len());
    let (hosts, shared) = (Parts::new(turns.len()), Parts::new(turns.len()));
    let mut reached = Reached {
        turns,
        hosts,
        shared,
        worlds: Vec::new(),
        places: Map::default(),
        from: vec![0],
        next: Vec::new(),
        edges: Vec::new(),
        wrong: None,
        finished: false,
        took: Duration::ZERO,
        first,
    };
    let start = reached.first.clone();
    reached.place(&start);
    let mut at = 0;
    while at < reached.states() && reached.wrong.is_none() {
        if reached.states() > most || at % 1024 == 0 && until.is_some_and(|until| Instant::now() > until) {
            reached.took = began.elapsed();
            return reached;
        }
        reached.follow(at as u32);
        at += 1;
    }
    reached.finished = reached.wrong.is_none();
    reached.took = began.elapsed();
    reached
}

impl Reached {
    pub fn states(&self) -> usize {
        self.worlds.len() / self.width()
    }

    fn width(&self) -> usize {
        self.first.hosts.len() + 1
    }

    fn follow(&mut self, at: u32) {
        self.next.push(self.edges.len() as u32);
        let begin = self.edges.len();
        for (event, world) in self.world(at).next() {
            let (place, new) = self.place(&world);
            if place != at && !event.what.is_fault() && !self.edges[begin..].contains(&place) {
                self.edges.push(place);
            }
            if new {
                self.from.push(at);
                if let (None, Some(why)) = (self.wrong, world.wrong()) {
                    self.wrong = Some((place, why));
                }
            }
        }
    }

    /// The numbers of a world's parts, of all turns the least.
    fn numbers(&mut self, world: &World) -> Vec<u32> {
        let mut numbers: Vec<u32> = world.hosts.iter().map(|host| self.hosts.number(host)).collect();
        numbers.push(self.shared.number(&world.shared));
        let last = numbers.len() - 1;
        let mut least = numbers.clone();
        let mut turned = numbers.clone();
        for (i, turn) in self.turns.iter().enumerate().skip(1) {
            for h in 0..last {
                turned[turn.0[h] as usize] = self.hosts.turned(numbers[h], i, |host| turn.of_host(host));
            }
            if turned[..last] > least[..last] {
                continue;
            }
            turned[last] = self.shared.turned(numbers[last], i, |shared| turn.of_shared(shared));
            if turned < least {
                least.copy_from_slice(&turned);
            }
        }
        least
    }

    /// The place of this world, and whether it was just given to it.
    fn place(&mut self, world: &World) -> (u32, bool) {
        let numbers = match world.without_what_is_over() {
            Some(world) => self.numbers(&world),
            None => self.numbers(world),
        };
        let mut hash = BuildHasherDefault::<Mix>::default().hash_one(&numbers);
        let width = self.width();
        loop {
            match self.places.entry(hash) {
                Entry::Vacant(place) => {
                    let new = (self.worlds.len() / width) as u32;
                    self.worlds.extend(&numbers);
                    return (*place.insert(new), true);
                }
                Entry::Occupied(place) => {
                    let at = *place.get() as usize * width;
                    if self.worlds[at..at + width] == numbers {
                        return (*place.get(), false);
                    }
                    // Another world of the same hash.
                    hash = hash.wrapping_add(1);
                }
            }
        }
    }

    pub fn world(&self, at: u32) -> World {
        let numbers = &self.worlds[at as usize * self.width()..(at as usize + 1) * self.width()];
        let (shared, hosts) = numbers.split_last().expect("a world has parts");
        World {
            config: self.first.config.clone(),
            hosts: hosts.iter().map(|h| self.hosts.all[*h as usize].clone()).collect(),
            shared: self.shared.all[*shared as usize].clone(),
        }
    }

    /// What has to happen for this world to come about, in order, and the world with its hosts in the first one's order.
    pub fn way_to(&mut self, mut at: u32) -> (Vec<Event>, World) {
        let mut places = vec![at];
        while at != 0 {
            at = self.from[at as usize];
            places.push(at);
        }
        let (mut way, mut world) = (Vec::new(), self.first.clone());
        let mut before = 0;
        for place in places.into_iter().rev().skip(1) {
            // In another order of the hosts something else may come first: then the way goes on in the order it was found in.
            let worlds = [world.clone(), self.world(before)];
            let step = worlds.iter().find_map(|w| w.next().into_iter().find(|(_, next)| self.place(next).0 == place));
            let (event, next) = step.expect("a way that was found before");
            way.push(event);
            (world, before) = (next, place);
        }
        (way, world)
    }

    /// The first world from which, without another fault, none can be reached that is settled, nor one in which somebody
    /// has to help and every host that waits says for whom; and which of them it is stuck in.
    pub fn stuck(&self) -> Option<u32> {
        let states = self.states();
        let mut starts = vec![0u32; states + 1];
        self.edges.iter().for_each(|to| starts[*to as usize + 1] += 1);
        (0..states).for_each(|i| starts[i + 1] += starts[i]);
        let mut filled = starts.clone();
        let mut before = vec![0u32; self.edges.len()];
        for from in 0..self.next.len() {
            let end = self.next.get(from + 1).map_or(self.edges.len(), |end| *end as usize);
            for to in &self.edges[self.next[from] as usize..end] {
                before[filled[*to as usize] as usize] = from as u32;
                filled[*to as usize] += 1;
            }
        }
        let mut can: Vec<bool> = (0..states as u32).map(|at| good(&self.world(at))).collect();
        let mut queue: Vec<u32> = (0u32..).zip(&can).filter(|(_, good)| **good).map(|(at, _)| at).collect();
        while let Some(at) = queue.pop() {
            for from in &before[starts[at as usize] as usize..starts[at as usize + 1] as usize] {
                if !std::mem::replace(&mut can[*from as usize], true) {
                    queue.push(*from);
                }
            }
        }
        (0u32..).zip(can).find(|(_, can)| !can).map(|(at, _)| at)
    }
}

/// Whether this world may stay as it is.
fn good(world: &World) -> bool {
    let answers = world.answers();
    let waits = |h: usize| has_rounds(&world.hosts[h]) && !world.hosts[h].running;
    // etcd's refusal is told with the voters that it lacks.
    let told = |o: &Outcome| o.named || matches!(o.plan[..], [Step::Add(t, _)] if !world.takes_one_more(&t));
    world.settled()
        || world.excused()
            && world.here().filter(|h| waits(*h)).all(|h| outcomes(world, &answers, h).first().is_some_and(told))
}
