//! The tests of the decision: its journal, its classes, its rows, its laws, and several machines at once.

mod backup;
mod checks;
mod classes;
#[path = "../../../tests/fits.rs"]
mod fits;
mod golden;
mod installing;
mod journal;
mod laws;
mod machines;
mod model;
mod places;
mod rows;
mod support;
mod totality;
