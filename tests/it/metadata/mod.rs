//! The shipped program and the platforms' metadata services, at their own addresses in a network of their own.

mod fake;
mod faults;
mod platforms;
mod run;
mod services;
