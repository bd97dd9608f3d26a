//! Several machines at once: everything that can happen to hosts that decide by the real rules, with faults at every
//! moment.
//!
//! `parts` and `world` are what there is, `rounds`, `steps` and `etcds` what happens, `view` asks the real `decide` by `facts`,
//! `world::wrong` says what must never be, `search` follows it all, `configurations` is what is searched.

pub mod check;
pub mod configurations;
mod etcds;
mod facts;
mod over;
mod parts;
mod rounds;
pub mod rules;
mod search;
mod steps;
mod tell;
mod turn;
mod view;
pub mod world;
