//! Certificates that are renewed while the node runs.

use super::{ClusterName, Tls, TlsError, TlsFiles, files::Stamp};
use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};
use uuid::Uuid;

/// The configuration in force. New links use it; links that stand stay as they are.
pub struct TlsReloader {
    files: TlsFiles,
    cluster: ClusterName,
    node_id: Uuid,
    current: RwLock<Arc<Tls>>,
    /// Of what was read last, good or bad: a bad file is complained about once.
    seen: Mutex<Option<Stamp>>,
}

impl TlsReloader {
    /// # Errors
    /// As [`Tls::load`].
    pub fn load(files: TlsFiles, cluster: ClusterName, node_id: Uuid) -> Result<Self, TlsError> {
        let (tls, stamp) = Tls::load_stamped(&files, &cluster, node_id)?;
        Ok(Self {
            files,
            cluster,
            node_id,
            current: RwLock::new(Arc::new(tls)),
            seen: Mutex::new(Some(stamp)),
        })
    }

    pub fn current(&self) -> Arc<Tls> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Reads the files again if they have changed. Gives whether new ones are in force; bad ones leave the old ones so, with a warning.
    pub fn refresh(&self) -> bool {
        let stamp = self.files.stamp().ok();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == stamp {
            return false;
        }
        match Tls::load_stamped(&self.files, &self.cluster, self.node_id) {
            Ok((tls, stamp)) => {
                *seen = Some(stamp);
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tls);
                tracing::info!(cert = %self.files.cert.display(), "took new cluster certificates");
                true
            }
            Err(error) => {
                *seen = stamp;
                let error: &dyn std::error::Error = &error;
                tracing::warn!(
                    error,
                    "new cluster certificates are of no use; the old ones stay in force"
                );
                false
            }
        }
    }

    /// Looks for new files until it is dropped.
    pub async fn watch(self: Arc<Self>, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let me = self.clone();
            // Three small files, but on a disk that may hang.
            let _ = tokio::task::spawn_blocking(move || me.refresh()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{Authority, Issued, write_private};
    use std::{fs, path::Path, time::SystemTime};

    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    const NODE: Uuid = Uuid::from_u128(7);

    fn cluster() -> ClusterName {
        ClusterName::new("test").unwrap()
    }
    fn authority() -> Authority {
        Authority::generate(cluster()).unwrap()
    }
    fn write(dir: &Path, authority: &Authority, node_id: Uuid) -> TlsFiles {
        let files = TlsFiles::in_dir(dir);
        let ca = authority.certify(SystemTime::now(), YEAR).unwrap();
        let Issued { certificate, key } =
            authority.issue(node_id, SystemTime::now(), YEAR).unwrap();
        fs::write(&files.ca, ca.certificate).unwrap();
        fs::write(&files.cert, certificate).unwrap();
        write_private(&files.key, &key).unwrap();
        files
    }

    #[test]
    fn new_files_are_taken_and_bad_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let authority = authority();
        let files = write(dir.path(), &authority, NODE);
        let reloader = TlsReloader::load(files.clone(), cluster(), NODE).unwrap();
        let first = reloader.current();
        assert!(!reloader.refresh(), "nothing has changed");

        write(dir.path(), &authority, NODE);
        assert!(reloader.refresh());
        let second = reloader.current();
        assert!(!Arc::ptr_eq(&first, &second));

        fs::write(&files.cert, "half a certif").unwrap();
        assert!(!reloader.refresh());
        assert!(
            Arc::ptr_eq(&second, &reloader.current()),
            "the old ones stay"
        );
        fs::remove_file(&files.cert).unwrap();
        assert!(!reloader.refresh());

        write(dir.path(), &authority, NODE);
        assert!(reloader.refresh());
    }

    #[test]
    fn files_for_somebody_else_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let files = write(dir.path(), &authority(), Uuid::from_u128(8));
        let loaded = Tls::load(&files, &cluster(), NODE);
        assert!(
            matches!(loaded, Err(TlsError::WrongName { .. })),
            "{loaded:?}"
        );
        let other = ClusterName::new("other").unwrap();
        let loaded = Tls::load(&files, &other, Uuid::from_u128(8));
        assert!(
            matches!(loaded, Err(TlsError::WrongName { .. })),
            "{loaded:?}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let files = write(dir.path(), &authority(), NODE);
        let mode =
            |mode| fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).unwrap();
        let written = fs::metadata(&files.key).unwrap().permissions().mode();
        assert_eq!(written & 0o777, 0o600);
        mode(0o644);
        let loaded = Tls::load(&files, &cluster(), NODE);
        assert!(
            matches!(loaded, Err(TlsError::KeyMode { mode: 0o644, .. })),
            "{loaded:?}"
        );
        mode(0o440);
        Tls::load(&files, &cluster(), NODE).unwrap();
    }

    #[test]
    fn an_authority_comes_back_from_its_key() {
        let first = authority();
        let dir = tempfile::tempdir().unwrap();
        let files = write(dir.path(), &first, NODE);
        let key = first.certify(SystemTime::now(), YEAR).unwrap().key;
        let again = Authority::from_key(cluster(), &key).unwrap();
        let issued = again.issue(NODE, SystemTime::now(), YEAR).unwrap();
        fs::write(&files.cert, issued.certificate).unwrap();
        write_private(&files.key, &issued.key).unwrap();
        Tls::load(&files, &cluster(), NODE).unwrap();
    }
}
