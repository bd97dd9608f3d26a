//! Every row of the decision table in DESIGN section 5, by number; and that the first one that matches wins.

mod disk;
mod founding;
mod grown;
mod joining;
mod membership;
mod missing;
mod order;
mod store;
