//! Breadth-first search over all that can happen, with the shortest way to what must not.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

/// A world of several machines: what can happen to it next, and what is wrong with it.
pub trait System: Clone + Eq + Hash {
    type Event: Clone + fmt::Debug;
    /// Everything that can happen, each with the world after it.
    fn next(&self) -> Vec<(Self::Event, Self)>;
    /// Why this world must not be, if so.
    fn wrong(&self) -> Option<String>;
}

/// FNV-1a: the worlds are hashed more often than anything else happens to them.
#[derive(Clone, Copy)]
pub struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u8(*byte);
        }
    }
    fn write_u8(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    fn write_u64(&mut self, n: u64) {
        self.0 ^= n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    fn write_usize(&mut self, n: usize) {
        self.write_u8(n as u8);
    }
    fn write_isize(&mut self, n: isize) {
        self.write_u8(n as u8);
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

pub type FnvMap<K, V> = HashMap<K, V, BuildHasherDefault<Fnv>>;

/// All worlds that can be reached, and how.
pub struct Reached<S: System> {
    pub worlds: Vec<S>,
    /// Of each world but the first: from which, by what.
    from: Vec<(u32, Option<S::Event>)>,
    /// Of each world: those that can come next.
    next: Vec<Vec<u32>>,
    /// The first world that is wrong, and why.
    pub wrong: Option<(u32, String)>,
}

/// Where each world is in the list of all, by its hash, so that no world is kept twice.
#[derive(Default)]
struct Places(FnvMap<u64, u32>);

impl Places {
    /// The place of this world, and whether it was just given to it.
    fn of<S: System>(&mut self, world: &S, worlds: &[S]) -> (u32, bool) {
        let mut hash = BuildHasherDefault::<Fnv>::default().hash_one(world);
        loop {
            match self.0.entry(hash) {
                Entry::Vacant(place) => return (*place.insert(worlds.len() as u32), true),
                Entry::Occupied(place) if worlds[*place.get() as usize] == *world => return (*place.get(), false),
                // Another world of the same hash.
                Entry::Occupied(_) => hash = hash.wrapping_add(1),
            }
        }
    }
}

/// Follows everything that can happen, until it is all seen or something is wrong.
pub fn search<S: System>(first: S) -> Reached<S> {
    let mut places = Places::default();
    places.of(&first, &[]);
    let mut reached = Reached { worlds: vec![first], from: vec![(0, None)], next: Vec::new(), wrong: None };
    let mut at = 0;
    while at < reached.worlds.len() {
        let mut next = Vec::new();
        for (event, world) in reached.worlds[at].next() {
            let (place, new) = places.of(&world, &reached.worlds);
            next.push(place);
            if new {
                let wrong = world.wrong();
                reached.worlds.push(world);
                reached.from.push((at as u32, Some(event)));
                if let Some(why) = wrong {
                    reached.wrong = Some((place, why));
                    return reached;
                }
            }
        }
        reached.next.push(next);
        at += 1;
    }
    reached
}

impl<S: System> Reached<S> {
    /// What has to happen for this world to come about, in order.
    pub fn way_to(&self, mut world: u32) -> Vec<S::Event> {
        let mut way = Vec::new();
        while let (before, Some(event)) = &self.from[world as usize] {
            way.push(event.clone());
            world = *before;
        }
        way.reverse();
        way
    }

    /// The first world from which none that is good can be reached any more.
    pub fn stuck(&self, good: impl Fn(&S) -> bool) -> Option<u32> {
        let mut before: Vec<Vec<u32>> = vec![Vec::new(); self.worlds.len()];
        for (world, next) in (0u32..).zip(&self.next) {
            for to in next {
                before[*to as usize].push(world);
            }
        }
        let mut can: Vec<bool> = self.worlds.iter().map(&good).collect();
        let mut queue: Vec<u32> = (0u32..).zip(&can).filter(|(_, good)| **good).map(|(world, _)| world).collect();
        while let Some(world) = queue.pop() {
            for from in &before[world as usize] {
                if !std::mem::replace(&mut can[*from as usize], true) {
                    queue.push(*from);
                }
            }
        }
        (0u32..).zip(can).find(|(_, can)| !can).map(|(world, _)| world)
    }
}
