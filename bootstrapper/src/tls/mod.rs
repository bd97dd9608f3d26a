//! Certificates: the cluster's CA, this host's leaves, and both ends of mutual TLS.
//!
//! [`load`] reads the CA that the spec names, [`ensure`] keeps the leaves in `pki/` fit, [`certificates_problem`] tells
//! what would make them fail, and [`client_config`], [`server_config`] and [`etcd_tls`] use them. A private key lives
//! in types without Debug and in files that only their user can read.

mod ca;
pub mod certificate;
mod clients;
mod ensure;
pub(crate) mod issue;
mod names;
pub(crate) mod pem;
mod seal;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod verify;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};

pub use ca::{CaMaterial, is_put_away, load, stored};
pub use clients::{client_config, etcd_tls, explain, install_provider, server_config};
pub use ensure::{CLIENT_NAME, LEAVES, Leaf, Outcome, ensure, fit, names, read_certificate, renew};
pub use names::Names;
pub use seal::seal_ca_key;
pub use verify::certificates_problem;

/// The algorithms of ring; the one place to change for another library.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
