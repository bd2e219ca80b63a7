//! Search for morphd, and the messages if it is not found.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::fake::{FakeMorphd, RunResult, morphctl, run};

/// Runs `morphctl apps` with this directory in the place of the user's run directory.
fn apps_in(dir: &std::path::Path) -> RunResult {
    run(morphctl().arg("apps").env("XDG_RUNTIME_DIR", dir))
}

#[test]
fn the_variable_names_the_endpoint_and_the_option_wins() {
    let fake = FakeMorphd::start();
    let endpoint = format!("unix:{}", fake.socket().display());
    let result = run(morphctl().arg("apps").env("MORPH_ENDPOINT", &endpoint));
    assert_eq!(result.code, 0, "{result:?}");
    let result = run(fake.command("apps").env("MORPH_ENDPOINT", "unix:/absent"));
    assert_eq!(result.code, 0, "{result:?}");
    let result = run(morphctl().arg("apps").env("MORPH_ENDPOINT", "nonsense"));
    assert_eq!(result.code, 2);
    assert!(
        result.err.contains("$MORPH_ENDPOINT is \"nonsense\""),
        "{result:?}"
    );
}

#[test]
fn the_users_run_directory_is_searched() {
    let fake = FakeMorphd::start_at(tempfile::tempdir().unwrap(), "morpheus/api.sock");
    let result = apps_in(fake.dir());
    assert_eq!(result.code, 0, "{result:?}");
}

#[test]
fn an_absent_morphd_is_reported_with_the_fix() {
    let dir = tempfile::tempdir().unwrap();
    let absent = format!("unix:{}/api.sock", dir.path().display());
    let result = run(morphctl().args(["--endpoint", &absent, "apps"]));
    assert_eq!((result.code, result.out.as_str()), (3, ""));
    assert!(
        result.err.contains(&absent) && result.err.contains("start morphd"),
        "{result:?}"
    );
    let result = run(morphctl().args(["--endpoint", "http://127.0.0.1:1", "apps"]));
    assert_eq!(result.code, 3);
    assert!(result.err.contains("nothing listens there"), "{result:?}");
}

#[test]
fn after_the_death_of_a_users_morphd_the_systems_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("morpheus")).unwrap();
    let socket = dir.path().join("morpheus/api.sock");
    drop(UnixListener::bind(&socket).unwrap());
    let result = apps_in(dir.path());
    assert_eq!(result.code, 3);
    let expected = format!("unix:{}: nothing listens there", socket.display());
    assert!(result.err.contains(&expected), "{result:?}");
}

#[test]
fn another_program_on_the_socket_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let other = std::thread::spawn(move || {
        use std::io::Write;
        let (mut stream, _) = listener.accept().unwrap();
        // The reader may have gone already.
        let _ = stream.write_all(b"220 mail.example.org ESMTP\r\n");
    });
    let endpoint = format!("unix:{}", socket.display());
    let result = run(morphctl().args(["--endpoint", &endpoint, "apps"]));
    other.join().unwrap();
    assert_eq!((result.code, result.out.as_str()), (3, ""), "{result:?}");
}

#[test]
fn a_socket_without_permission_is_reported_with_the_fix() {
    // Modes do not restrict root, so root runs it as another user, from a directory that everybody may read.
    let dir = tempfile::tempdir().unwrap();
    let modes =
        |path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    modes(dir.path(), 0o755);
    let binary = dir.path().join("morphctl");
    // `cp` copies it, because a child of a concurrent test could inherit our open descriptor, and then exec fails (ETXTBSY).
    let mut copy = Command::new("cp");
    copy.arg(env!("CARGO_BIN_EXE_morphctl")).arg(&binary);
    assert!(copy.status().unwrap().success());
    let socket = dir.path().join("api.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    modes(&socket, 0o000);
    let mut command = Command::new(&binary);
    if rustix::process::getuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let result = run(command
        .arg("apps")
        .arg(format!("--endpoint=unix:{}", socket.display())));
    assert_eq!((result.code, result.out.as_str()), (3, ""));
    assert!(
        result
            .err
            .contains("permission denied (to fix: run as root"),
        "{result:?}"
    );
}
