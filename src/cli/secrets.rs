//! The master keys of the service, as the configuration names them.

use super::exit::Failure;
use crate::{config, connect::Sealer};
use secrecy::ExposeSecret;

/// A key that is not there stops the start: a new one could not open what was sealed before.
///
/// # Errors
/// No key is named, or it cannot be read.
pub fn sealer(secrets: &config::Secrets) -> anyhow::Result<Sealer> {
    match (&secrets.master_key, &secrets.master_key_file) {
        (Some(text), _) => Ok(Sealer::from_text(text.expose_secret())?),
        (None, Some(path)) => Ok(Sealer::from_file(path)?),
        (None, None) => Err(Failure::usage(
            "no master key: set master_key_file (TENURE_MASTER_KEY_FILE) or master_key; \
             `head -c 32 /dev/urandom | base64` makes one",
        )),
    }
}
