//! Fake morphd on a unix socket, and the real morphctl as its client.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use morph_api::management::management_server::ManagementServer;
use tokio::sync::oneshot;
use tokio_stream::wrappers::UnixListenerStream;

use crate::service::FakeService;

/// Running fake of morphd. Dropping it breaks every connection at once, as `kill -9` does.
pub(crate) struct FakeMorphd {
    dir: tempfile::TempDir,
    requests: Arc<Mutex<Vec<String>>>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Result of a morphctl that has ended.
#[derive(Debug)]
pub(crate) struct RunResult {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Real morphctl, without an environment that leads to a morphd.
pub(crate) fn morphctl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_morphctl"));
    command
        .env_remove("MORPH_ENDPOINT")
        .env_remove("XDG_RUNTIME_DIR")
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> RunResult {
    let output = command.output().unwrap();
    RunResult {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

impl FakeMorphd {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::start_at(dir, "api.sock")
    }

    /// Starts it with its socket at a path within the directory.
    pub(crate) fn start_at(dir: tempfile::TempDir, socket: &str) -> Self {
        let path = dir.path().join(socket);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let service = FakeService {
            requests: requests.clone(),
        };
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
                    .serve_with_incoming(ManagementServer::new(service), incoming);
                tokio::select! {
                    served = server => served.unwrap(),
                    _ = ended => {}
                }
            });
        });
        FakeMorphd {
            dir,
            requests,
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

    /// Makes a morphctl with this fake as its endpoint.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = morphctl();
        command
            .arg("--endpoint")
            .arg(format!("unix:{}", self.socket().display()))
            .args(line.split(' '));
        command
    }

    pub(crate) fn run(&self, line: &str) -> RunResult {
        run(&mut self.command(line))
    }

    /// Runs morphctl with `--output json` and returns the objects that it prints.
    pub(crate) fn json(&self, line: &str) -> Vec<serde_json::Value> {
        let result = self.run(&format!("--output json {line}"));
        assert_eq!(result.code, 0, "{line}: {result:?}");
        let objects = result.out.lines().map(serde_json::from_str);
        objects.map(Result::unwrap).collect()
    }

    /// Tells whether a request that begins like this has come.
    pub(crate) fn has_request(&self, beginning: &str) -> bool {
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .any(|request| request.starts_with(beginning))
    }

    /// Debug form of the last request.
    pub(crate) fn last_request(&self) -> String {
        self.requests.lock().unwrap().last().cloned().unwrap()
    }
}

impl Drop for FakeMorphd {
    fn drop(&mut self) {
        drop(self.end.take());
        self.thread.take().map(JoinHandle::join);
    }
}
