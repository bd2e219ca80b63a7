//! Question to an executable for its description: `EXEC --schema`, with a deadline and a limit of what it may print.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::Description;

/// Deadline of the answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// Time for its last words, once it is killed.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Largest description in bytes. It becomes part of a row in the store.
const MAX_ANSWER: u64 = 256 << 10;
/// Bytes of standard error that are read.
const MAX_WORDS: u64 = 16 << 10;

/// Runs the command with `--schema` added and reads what it prints. The process, and all that it has started, is gone
/// afterwards. Blocks until then. The error says what is wrong, with the process's own words where it has any.
pub fn ask(command: &mut Command) -> Result<Description, String> {
    ask_within(command, ANSWER_DEADLINE)
}

fn ask_within(command: &mut Command, deadline: Duration) -> Result<Description, String> {
    command
        .arg("--schema")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = command
        .spawn()
        .map_err(|error| format!("cannot be run: {error}"))?;
    let answer = child.stdout.take().map(|out| read(out, MAX_ANSWER));
    let words = child.stderr.take().map(|out| read(out, MAX_WORDS));
    let answer = answer.map(|answer| answer.recv_timeout(deadline));
    // The program has printed everything, or too much, or nothing in time. It is not reaped yet, so its process group is its own still.
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
    let Some(Ok(answer)) = answer else {
        return Err(format!("has not described its tables within {deadline:?}"));
    };
    if answer.len() as u64 >= MAX_ANSWER {
        return Err(format!("prints more than {} KiB", MAX_ANSWER >> 10));
    }
    serde_json::from_slice(&answer).map_err(|error| {
        let words = words.and_then(|words| words.recv_timeout(LAST_WORDS).ok());
        let words = words.unwrap_or_default();
        let words = String::from_utf8_lossy(&words);
        let last = words.lines().map(str::trim).rfind(|line| !line.is_empty());
        match last {
            Some(last) => format!("does not describe its tables: {last}"),
            None if answer.is_empty() => "does not describe its tables: it prints nothing".into(),
            None => format!("does not describe its tables: it prints no such JSON ({error})"),
        }
    })
}

/// Reads up to a limit in a thread of its own, which ends with the stream.
fn read(stream: impl Read + Send + 'static, limit: u64) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.take(limit).read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Result<Description, String> {
        // The flag becomes the script's name, `$0`.
        ask(Command::new("/bin/sh").args(["-c", script]))
    }

    #[test]
    fn a_description_is_read() {
        let printed = sh("test \"$0\" = --schema && echo '{\"tables\": [], \"reads\": []}'");
        assert_eq!(printed.unwrap().reads, Some(Vec::new()));
    }

    #[test]
    fn what_cannot_describe_itself_is_told_with_its_own_words() {
        let error = sh("echo 'no such library' >&2; exit 127").unwrap_err();
        assert_eq!(error, "does not describe its tables: no such library");
        let error = sh("exit 0").unwrap_err();
        assert_eq!(error, "does not describe its tables: it prints nothing");
        let error = sh("echo hello").unwrap_err();
        assert!(error.contains("no such JSON"), "{error}");
        let error = sh("exec cat /dev/zero").unwrap_err();
        assert_eq!(error, "prints more than 256 KiB");
        let error = ask(&mut Command::new("/nowhere")).unwrap_err();
        assert!(error.contains("cannot be run: No such file"), "{error}");
    }

    #[test]
    fn what_does_not_answer_is_ended_with_all_that_it_started() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 100 & sleep 100"]);
        let error = ask_within(&mut command, Duration::from_millis(300)).unwrap_err();
        assert_eq!(error, "has not described its tables within 300ms");
    }
}
