//! The shipped program and the platforms' metadata services, at their own addresses in a network of their own.

mod cloud_init;
pub mod fake;
mod faults;
mod platforms;
mod run;
#[path = "../../support/services.rs"]
pub mod services;
#[path = "../../support/wire.rs"]
mod wire;
