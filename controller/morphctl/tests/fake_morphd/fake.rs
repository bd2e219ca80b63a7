//! A morphd on a unix socket that answers by a script, and the real morphctl to ask it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use morph_api::management::management_server::ManagementServer;
use tokio::sync::oneshot;
use tokio_stream::wrappers::UnixListenerStream;

use crate::morphd::Morphd;

/// A running fake; dropping it breaks every connection at once, as `kill -9` would.
pub(crate) struct Fake {
    dir: tempfile::TempDir,
    seen: Arc<Mutex<Vec<String>>>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What came of a morphctl.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The real morphctl, with nothing in its environment that leads to a morphd.
pub(crate) fn morphctl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_morphctl"));
    command
        .env_remove("MORPH_ENDPOINT")
        .env_remove("XDG_RUNTIME_DIR")
        .stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Fake {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::start_at(dir, "api.sock")
    }

    /// With its socket at a path within the folder.
    pub(crate) fn start_at(dir: tempfile::TempDir, socket: &str) -> Self {
        let path = dir.path().join(socket);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let morphd = Morphd { seen: seen.clone() };
        let (end, ended) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::UnixListener::from_std(listener).unwrap();
                let incoming = UnixListenerStream::new(listener);
                let server = tonic::transport::Server::builder()
                    .serve_with_incoming(ManagementServer::new(morphd), incoming);
                tokio::select! {
                    served = server => served.unwrap(),
                    _ = ended => {}
                }
            });
        });
        Fake {
            dir,
            seen,
            end: Some(end),
            thread: Some(thread),
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }

    /// morphctl with this fake as its endpoint.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = morphctl();
        command
            .arg("--endpoint")
            .arg(format!("unix:{}", self.socket().display()))
            .args(line.split(' '));
        command
    }

    pub(crate) fn run(&self, line: &str) -> Ran {
        run(&mut self.command(line))
    }

    /// Runs it with `--output json`; the objects that it printed.
    pub(crate) fn json(&self, line: &str) -> Vec<serde_json::Value> {
        let ran = self.run(&format!("--output json {line}"));
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        let objects = ran.out.lines().map(serde_json::from_str);
        objects.map(Result::unwrap).collect()
    }

    /// Whether such a request came.
    pub(crate) fn asked_ever(&self, what: &str) -> bool {
        let seen = self.seen.lock().unwrap();
        seen.iter().any(|asked| asked.starts_with(what))
    }

    /// The last request.
    pub(crate) fn asked(&self) -> String {
        self.seen.lock().unwrap().last().cloned().unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        drop(self.end.take());
        self.thread.take().map(JoinHandle::join);
    }
}
