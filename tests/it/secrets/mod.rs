//! Values that a spec keeps elsewhere: behind a URL, or with the cloud that a machine is of.

mod keepers;
mod seal;
mod url;
