//! `RUN_DIR/instances/NAME-ID`: locked while the instance lives, with who it is inside. So morphd knows, and a morphd
//! that was started since.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use morph_api::manifest::Manifest;

/// The lock; letting go of it removes the file.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    pub(super) fn take(run_dir: &Path, manifest: &Manifest, instance: &str) -> io::Result<Lock> {
        let directory = run_dir.join("instances");
        std::fs::create_dir_all(&directory)?;
        let path = directory.join(format!("{}-{instance}", manifest.name));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        file.try_lock()?;
        let pid = std::process::id();
        let holder = serde_json::json!({
            "app": manifest.name,
            "release": manifest.version.to_string(),
            "instance": instance,
            "pid": pid,
            "start_time": start_time()?,
        });
        file.set_len(0)?;
        file.write_all(holder.to_string().as_bytes())?;
        Ok(Lock { path, _file: file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A file that stays is harmless: nobody holds its lock.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// When this process started, in clock ticks since boot: field 22 of its stat line (proc(5)).
fn start_time() -> io::Result<Option<u64>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // Field 2, the name, may itself contain blanks and brackets; the last bracket ends it.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
    let field = fields.and_then(|fields| fields.split_ascii_whitespace().nth(19));
    Ok(field.and_then(|field| field.parse().ok()))
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
        let lock = Lock::take(dir.path(), &manifest, "7").unwrap();
        let said = std::fs::read_to_string(dir.path().join("instances/a-7")).unwrap();
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["pid"], std::process::id());
        assert!(said["start_time"].as_u64().is_some());
        assert!(Lock::take(dir.path(), &manifest, "7").is_err());
        drop(lock);
        assert!(Lock::take(dir.path(), &manifest, "7").is_ok());
    }
}
