//! How morphctl finds morphd, and what it says where it does not.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::fake::{Fake, Ran, morphctl, run};

/// The user's run directory is the folder's; the system's is this machine's.
fn apps_in(dir: &std::path::Path) -> Ran {
    run(morphctl().arg("apps").env("XDG_RUNTIME_DIR", dir))
}

#[test]
fn the_variable_names_it_and_the_option_wins() {
    let fake = Fake::start();
    let endpoint = format!("unix:{}", fake.socket().display());
    let ran = run(morphctl().arg("apps").env("MORPH_ENDPOINT", &endpoint));
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = run(fake.command("apps").env("MORPH_ENDPOINT", "unix:/absent"));
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = run(morphctl().arg("apps").env("MORPH_ENDPOINT", "nonsense"));
    assert_eq!(ran.code, 2);
    assert!(
        ran.err.contains("$MORPH_ENDPOINT is \"nonsense\""),
        "{ran:?}"
    );
}

#[test]
fn the_users_run_directory_is_searched() {
    let fake = Fake::start_at(tempfile::tempdir().unwrap(), "morpheus/api.sock");
    let ran = apps_in(fake.dir());
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn an_absent_morphd_is_told_with_the_mend() {
    let dir = tempfile::tempdir().unwrap();
    let absent = format!("unix:{}/api.sock", dir.path().display());
    let ran = run(morphctl().args(["--endpoint", &absent, "apps"]));
    assert_eq!((ran.code, ran.out.as_str()), (3, ""));
    assert!(
        ran.err.contains(&absent) && ran.err.contains("start morphd"),
        "{ran:?}"
    );
    let ran = run(morphctl().args(["--endpoint", "http://127.0.0.1:1", "apps"]));
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("nothing listens there"), "{ran:?}");
}

#[test]
fn a_users_morphd_that_died_does_not_lead_to_the_systems() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("morpheus")).unwrap();
    let socket = dir.path().join("morpheus/api.sock");
    drop(UnixListener::bind(&socket).unwrap());
    let ran = apps_in(dir.path());
    assert_eq!(ran.code, 3);
    let said = format!("unix:{}: nothing listens there", socket.display());
    assert!(ran.err.contains(&said), "{ran:?}");
}

#[test]
fn something_else_on_the_socket_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let other = std::thread::spawn(move || {
        use std::io::Write;
        let (mut stream, _) = listener.accept().unwrap();
        // The reader may have gone by then.
        let _ = stream.write_all(b"220 mail.example.org ESMTP\r\n");
    });
    let endpoint = format!("unix:{}", socket.display());
    let ran = run(morphctl().args(["--endpoint", &endpoint, "apps"]));
    other.join().unwrap();
    assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{ran:?}");
}

#[test]
fn a_socket_that_may_not_be_used_is_told_with_the_mend() {
    // Modes do not hold root back: another user runs it then, from a place that everybody may look into.
    let dir = tempfile::tempdir().unwrap();
    let modes =
        |path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    modes(dir.path(), 0o755);
    let binary = dir.path().join("morphctl");
    // Copied by another process: a child of a test beside this one could inherit our descriptor, and then it is busy.
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
    let ran = run(command
        .arg("apps")
        .arg(format!("--endpoint=unix:{}", socket.display())));
    assert_eq!((ran.code, ran.out.as_str()), (3, ""));
    assert!(
        ran.err.contains("permission denied (mend: run as root"),
        "{ran:?}"
    );
}
