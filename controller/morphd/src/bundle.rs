//! Bundles: folders with `app.toml` and executables, identified by their digest.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use morph_api::description::Description;
use morph_api::manifest::{Manifest, ManifestError};
use sha2::{Digest, Sha256};

/// Prefix of the folder of an unfinished copy.
const DRAFT: &str = ".draft-";

static DRAFTS: AtomicU64 = AtomicU64::new(0);

/// A bundle that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("{}: {problem}", path.display())]
    Exec {
        path: PathBuf,
        problem: &'static str,
    },
    /// A symbolic link, socket or the like, which cannot be copied by content.
    #[error("{} is neither a file nor a folder; remove it: a bundle may contain nothing else", .0.display())]
    UnsupportedFile(PathBuf),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// A bundle whose files have been checked and digested.
#[derive(Debug, Clone)]
pub struct Bundle {
    pub manifest: Manifest,
    /// SHA-256 of its files in hex.
    pub digest: String,
    pub folder: PathBuf,
    /// Answer of its executable to what it has; `None` if it was not asked, or did not answer.
    pub description: Option<Description>,
    files: Vec<PathBuf>,
}

/// Copy of a bundle that is not installed yet. Dropped, it is removed.
#[derive(Debug)]
pub struct Draft {
    folder: PathBuf,
    target: PathBuf,
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, BundleError> {
    result.map_err(|source| BundleError::Io {
        path: path.to_owned(),
        source,
    })
}

impl Bundle {
    /// Reads a bundle's manifest and digests its files.
    pub fn examine(folder: &Path) -> Result<Bundle, BundleError> {
        let manifest = Manifest::read(&folder.join(Manifest::FILE))?;
        let exec = folder.join(&manifest.exec);
        let problem = match fs::metadata(&exec) {
            Err(_) => Some("the bundle does not contain the executable that app.toml names"),
            Ok(found) if !found.is_file() => {
                Some("the executable that app.toml names is not a file")
            }
            Ok(found) if found.permissions().mode() & 0o111 == 0 => {
                Some("is not executable (chmod +x)")
            }
            Ok(_) => None,
        };
        if let Some(problem) = problem {
            return Err(BundleError::Exec {
                path: exec,
                problem,
            });
        }
        let mut files = Vec::new();
        list(folder, Path::new(""), &mut files)?;
        files.sort();
        let digest = digest(folder, &files)?;
        Ok(Bundle {
            manifest,
            digest,
            folder: folder.to_owned(),
            description: None,
            files,
        })
    }

    /// Name of the folder in which the bundle is installed.
    pub fn installed_name(&self) -> String {
        let (name, version) = (&self.manifest.name, &self.manifest.version);
        format!("{name}-{version}-{}", &self.digest[..12])
    }

    /// Folder of `bundles` in which the bundle is installed.
    pub fn installed(&self, bundles: &Path) -> PathBuf {
        bundles.join(self.installed_name())
    }

    /// Copies the bundle into a draft in `bundles`.
    pub fn draft(&self, bundles: &Path) -> Result<Draft, BundleError> {
        // Two installs of the same bundle may run at once, so each has a draft of its own.
        let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let draft = Draft {
            folder: bundles.join(format!("{DRAFT}{}-{number}", std::process::id())),
            target: self.installed(bundles),
        };
        self.copy(&draft.folder)?;
        Ok(draft)
    }

    fn copy(&self, draft: &Path) -> Result<(), BundleError> {
        for file in &self.files {
            let (from, to) = (self.folder.join(file), draft.join(file));
            let folder = to.parent().unwrap_or(draft);
            at(folder, fs::create_dir_all(folder))?;
            at(&from, fs::copy(&from, &to))?;
            at(&to, make_readable(&to))?;
            at(&to, File::open(&to).and_then(|file| file.sync_all()))?;
        }
        Ok(())
    }
}

impl Draft {
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Gives the copy its name, completely or not at all, and returns its folder.
    pub fn keep(self) -> Result<PathBuf, BundleError> {
        let target = self.target.clone();
        let renamed = fs::rename(&self.folder, &target);
        // Another install of the same bundle may have come first.
        if !target.exists() {
            at(&target, renamed)?;
        }
        let bundles = target.parent().unwrap_or(&target);
        at(
            bundles,
            File::open(bundles).and_then(|folder| folder.sync_all()),
        )?;
        Ok(target)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Where the bundle was kept the folder is gone. Remains do no harm; the next morphd removes them.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Lets everybody read a file and enter its folder: instances have users of their own, and a bundle holds no secrets.
fn make_readable(file: &Path) -> io::Result<()> {
    let runs = fs::metadata(file)?.permissions().mode() & 0o111 != 0;
    let mode = |runs| fs::Permissions::from_mode(if runs { 0o755 } else { 0o644 });
    fs::set_permissions(file, mode(runs))?;
    match file.parent() {
        Some(folder) => fs::set_permissions(folder, mode(true)),
        None => Ok(()),
    }
}

/// Makes bundles readable that were installed before instances had users of their own.
pub fn make_all_readable(bundles: &Path) -> Result<(), BundleError> {
    for folder in folders_in(bundles) {
        let mut files = Vec::new();
        list(&folder, Path::new(""), &mut files)?;
        for file in files.iter().map(|file| folder.join(file)) {
            at(&file, make_readable(&file))?;
        }
    }
    Ok(())
}

/// Removes what interrupted installs have left.
pub fn remove_drafts(bundles: &Path) {
    for entry in fs::read_dir(bundles).into_iter().flatten().flatten() {
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(DRAFT.as_bytes())
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn list(folder: &Path, inside: &Path, files: &mut Vec<PathBuf>) -> Result<(), BundleError> {
    let here = folder.join(inside);
    for entry in at(&here, fs::read_dir(&here))? {
        let entry = at(&here, entry)?;
        let path = inside.join(entry.file_name());
        let kind = at(&entry.path(), entry.file_type())?;
        if kind.is_dir() {
            list(folder, &path, files)?;
        } else if kind.is_file() {
            files.push(path);
        } else {
            return Err(BundleError::UnsupportedFile(entry.path()));
        }
    }
    Ok(())
}

/// Digests the files in order of their relative paths: path, a zero byte, whether it is executable, length, contents.
fn digest(folder: &Path, files: &[PathBuf]) -> Result<String, BundleError> {
    let mut all = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    for relative in files {
        let path = folder.join(relative);
        let mut file = at(&path, File::open(&path))?;
        let found = at(&path, file.metadata())?;
        let executable = found.permissions().mode() & 0o111 != 0;
        all.update(relative.as_os_str().as_encoded_bytes());
        all.update([0, u8::from(executable)]);
        all.update(found.len().to_be_bytes());
        loop {
            let read = at(&path, file.read(&mut buffer))?;
            if read == 0 {
                break;
            }
            all.update(&buffer[..read]);
        }
    }
    Ok(all
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Subfolders that contain a manifest; none where the folder does not exist or cannot be read.
pub fn folders_in(bundles: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(bundles).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.join(Manifest::FILE).exists())
        .collect();
    folders.sort();
    folders
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn write(folder: &Path, name: &str, version: &str, script: &str) {
        fs::create_dir_all(folder).unwrap();
        let manifest = format!(
            "name = '{name}'\nversion = '{version}'\nid = 1\nexec = 'bin/app'\nschema = 1\ntables = [10, 19]\n"
        );
        fs::write(folder.join("app.toml"), manifest).unwrap();
        fs::create_dir_all(folder.join("bin")).unwrap();
        let exec = folder.join("bin/app");
        fs::write(&exec, script).unwrap();
        fs::set_permissions(&exec, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn the_digest_covers_paths_contents_and_exec_bits() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a");
        write(&folder, "app", "1.0.0", "one");
        let digest = || Bundle::examine(&folder).unwrap().digest;
        let first = digest();
        assert_eq!(first.len(), 64);
        assert_eq!(digest(), first);
        let mut seen = vec![first];
        let mut differs = |what: &str| {
            let now = digest();
            assert!(!seen.contains(&now), "{what}");
            seen.push(now);
        };
        fs::write(folder.join("bin/app"), "two").unwrap();
        differs("contents");
        fs::write(folder.join("note"), "").unwrap();
        differs("a new file");
        fs::rename(folder.join("note"), folder.join("Note")).unwrap();
        differs("a path");
        fs::set_permissions(folder.join("Note"), fs::Permissions::from_mode(0o700)).unwrap();
        differs("an exec bit");
    }

    #[test]
    fn an_install_is_a_copy_with_exec_bits_and_happens_once() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a");
        write(&folder, "app", "1.0.0", "one");
        let bundles = dir.path().join("bundles");
        let bundle = Bundle::examine(&folder).unwrap();
        let install = || bundle.draft(&bundles).unwrap().keep().unwrap();
        let installed = install();
        assert_eq!(installed, install());
        drop(bundle.draft(&bundles).unwrap());
        assert_eq!(fs::read_dir(&bundles).unwrap().count(), 1, "drafts stay");
        let copy = Bundle::examine(&installed).unwrap();
        assert_eq!(copy.digest, bundle.digest);
        assert_eq!(copy.manifest, bundle.manifest);
        assert_eq!(folders_in(&bundles).len(), 1);
        fs::create_dir(bundles.join(format!("{DRAFT}x"))).unwrap();
        remove_drafts(&bundles);
        assert_eq!(fs::read_dir(&bundles).unwrap().count(), 1);
    }

    #[test]
    fn mistakes_in_a_bundle_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a");
        let error = || Bundle::examine(&folder).unwrap_err().to_string();
        assert!(error().contains("app.toml"), "{}", error());
        write(&folder, "app", "1.0.0", "one");
        let exec = folder.join("bin/app");
        fs::set_permissions(&exec, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(
            error().contains("is not executable (chmod +x)"),
            "{}",
            error()
        );
        fs::remove_file(&exec).unwrap();
        assert!(
            error().contains("does not contain the executable"),
            "{}",
            error()
        );
        write(&folder, "app", "1.0.0", "one");
        std::os::unix::fs::symlink("/etc/passwd", folder.join("link")).unwrap();
        assert!(
            error().contains("neither a file nor a folder"),
            "{}",
            error()
        );
        assert!(folders_in(&dir.path().join("none")).is_empty());
    }
}
