//! Lock file of an instance, `RUN_DIR/instances/NAME-ID`, held while it lives. By these files morphd knows which instances
//! live, also those that an earlier morphd started.

use std::path::{Path, PathBuf};

use morph_api::lock::{EventMark, Holder, Lock, LockError};
use morph_api::manifest::Manifest;

/// Lock of one instance; dropping it removes the file.
#[derive(Debug)]
pub(super) struct InstanceLock {
    path: PathBuf,
    lock: Lock,
    /// Whether the file stays, for morphd to read which event was being handled.
    stays: bool,
}

impl InstanceLock {
    pub(super) fn take(
        run_dir: &Path,
        manifest: &Manifest,
        instance: &str,
    ) -> Result<Self, LockError> {
        let directory = run_dir.join("instances");
        std::fs::create_dir_all(&directory)?;
        let path = directory.join(format!("{}-{instance}", manifest.name));
        let holder = Holder {
            app: manifest.name.clone(),
            release: manifest.version.to_string(),
            instance: instance.to_owned(),
            ..Holder::current()
        };
        let lock = Lock::take(&path, &holder)?;
        Ok(InstanceLock {
            path,
            lock,
            stays: false,
        })
    }

    /// Marker for the event that is being handled. Where the file takes none, nothing is marked.
    pub(super) fn event_mark(&self) -> EventMark {
        self.lock.event_mark().unwrap_or_else(|error| {
            let path = self.path.display();
            tracing::warn!("{path} takes no mark of the event that is being handled, so one that kills the app is searched for by delivering events singly: {error}");
            EventMark::default()
        })
    }

    /// Leaves the file after the end, as a process does that is killed.
    pub(super) fn leave(mut self) {
        self.stays = true;
    }
}

impl Drop for InstanceLock {
    fn drop(&mut self) {
        // A file that stays is harmless: nobody holds its lock.
        if !self.stays {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_instance_of_the_same_id_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let text = r#"
            name = "a"
            version = "1.0.0"
            id = 1
            exec = "a"
            schema = 1
            tables = [1, 2]
        "#;
        let manifest = Manifest::parse(Path::new("app.toml"), text).unwrap();
        let lock = InstanceLock::take(dir.path(), &manifest, "7").unwrap();
        let text = std::fs::read_to_string(dir.path().join("instances/a-7")).unwrap();
        let text: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(text["pid"], std::process::id());
        assert!(text["start_time"].as_u64().is_some());
        assert!(InstanceLock::take(dir.path(), &manifest, "7").is_err());
        drop(lock);
        assert!(InstanceLock::take(dir.path(), &manifest, "7").is_ok());
    }
}
