//! moto's S3 on this host's end of the bridge: a server that others wrote, with a bucket called `bucket`.
//!
//! What it makes of two conditional writes in one moment is not defined; here three slow machines write equal claims, and
//! `tests/it` lets claims race in a bucket of our own that is atomic.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result};

use crate::moto::Moto;
use crate::tools::Tools;

/// The server, with all that is in it, until it is dropped.
pub struct Bucket {
    moto: Moto,
}

impl Bucket {
    /// Starts it, with an empty bucket.
    pub fn start(tools: &Tools) -> Result<Bucket> {
        let bucket = Bucket { moto: Moto::start(tools)? };
        bucket.request("PUT", "", io::empty(), 0)?;
        Ok(bucket)
    }

    /// The keys of `store` or `restore` that say where it is and as whom it is asked.
    pub fn access(&self) -> String {
        let credentials = "credentials: {access_key_id: test, secret_access_key: test}";
        format!("endpoint: \"{}\", path_style: true, allow_http: true, {credentials}", self.moto.endpoint())
    }

    /// An object.
    pub fn get(&self, key: &str) -> Result<Vec<u8>> {
        self.request("GET", key, io::empty(), 0)
    }

    /// Puts a file into it.
    pub fn put(&self, key: &str, file: &Path) -> Result<()> {
        let file = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
        let length = file.metadata()?.len();
        self.request("PUT", key, file, length).map(|_| ())
    }

    fn request(&self, method: &str, key: &str, body: impl Read, length: u64) -> Result<Vec<u8>> {
        self.moto.request(("us-east-1", "s3"), &format!("{method} /bucket/{key}"), body, length)
    }
}
