//! `morphctl decode` as a process: its input, output and exit codes. No morphd runs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by them"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Echo request of OpenFlow 1.3.
const ECHO: [u8; 10] = [4, 2, 0, 10, 0, 0, 0, 7, 0xab, 0xcd];
/// Barrier request of OpenFlow 1.0.
const BARRIER: [u8; 8] = [1, 18, 0, 8, 0, 0, 0, 8];

struct RunResult {
    code: i32,
    out: String,
    err: String,
}

/// Runs it with these words and these bytes on standard input.
fn decode(words: &[&str], input: &[u8]) -> RunResult {
    let mut child = Command::new(env!("CARGO_BIN_EXE_morphctl"))
        .arg("decode")
        .args(words)
        .env("MORPH_ENDPOINT", "unix:/nowhere")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // morphctl may exit before it has read everything.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    RunResult {
        code: output.status.code().unwrap(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

fn messages(result: &RunResult) -> Vec<Value> {
    assert_eq!(result.out.lines().count(), 1, "{}", result.out);
    let object: Value = serde_json::from_str(&result.out).unwrap();
    object["messages"].as_array().unwrap().clone()
}

fn vectors(folder: &str) -> Vec<PathBuf> {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/openflow/vectors");
    let entries = std::fs::read_dir(vectors.join(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().unwrap() == "hex")
        .collect()
}

#[test]
fn every_vector_is_printed_in_both_formats() {
    for path in [vectors("of10"), vectors("of13")].concat() {
        let path = path.to_str().unwrap();
        let result = decode(&[path], b"");
        assert_eq!((result.code, &*result.err), (0, ""), "{path}");
        assert!(result.out.contains("xid 0x2a"), "{path}: {}", result.out);
        assert!(!result.out.contains("error:"), "{path}: {}", result.out);
        let result = decode(&["--output", "json", path], b"");
        let messages = messages(&result);
        assert_eq!((result.code, messages.len()), (0, 1), "{path}");
        assert_eq!(messages[0]["xid"], 42, "{path}");
        assert!(!messages[0]["message"].is_null(), "{path}");
    }
}

#[test]
fn fields_keep_their_names_order_and_types() {
    let flow_mod = vectors("of13")
        .into_iter()
        .find(|path| path.ends_with("flow_mod.hex"));
    let flow_mod = flow_mod.unwrap();
    let result = decode(&["--output", "json", flow_mod.to_str().unwrap()], b"");
    let begin = "{\"messages\":[{\"offset\":0,\"version\":4,\"type\":\"FLOW_MOD\",\"length\":208,\"xid\":42,\"message\":\
                 {\"FlowMod\":{\"cookie\":\"0x4d01000200000003\",\"cookie_mask\":\"0x0\",\"table_id\":10,\"command\":\"Add\",";
    assert!(result.out.starts_with(begin), "{}", result.out);
    let fields = "\"match\":[{\"field\":\"eth_type\",\"value\":\"0x0800\"},{\"field\":\"ipv4_dst\",\"value\":\"10.0.0.0/8\"},";
    assert!(result.out.contains(fields), "{}", result.out);
}

#[test]
fn a_message_is_digits_a_file_or_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("echo.bin");
    std::fs::write(&file, ECHO).unwrap();
    let file = file.to_str().unwrap();
    let dump = b"00000000: 0402 000a 0000 0007 abcd                 ..........\n";
    let expected = "ECHO_REQUEST OpenFlow 1.3, xid 0x7, 10 bytes at 0\n  EchoRequest: abcd\n";
    for (words, input) in [
        (&["0402000a00000007abcd"][..], &b""[..]),
        (&["04", "02", "000a", "00:00:00:07", "0xabcd"], b""),
        (&[file], b""),
        (&["-"], &ECHO),
        (&[], &ECHO),
        (&["-"], dump),
    ] {
        let result = decode(words, input);
        assert_eq!(
            (result.code, &*result.out),
            (0, expected),
            "{words:?}: {}",
            result.err
        );
    }
}

#[test]
fn a_bad_message_in_a_stream_hides_no_other() {
    let bad = [4, 14, 0, 12, 0, 0, 0, 9, 0, 0, 0, 0];
    let stream = [&ECHO[..], &bad, &BARRIER].concat();
    let result = decode(&["--output", "json"], &stream);
    assert_eq!(result.code, 1);
    let line = "morphctl: message 2, at byte 10: flow_mod, byte 8 of the message: needs 40 bytes, 4 are left\n";
    assert_eq!(result.err, line);
    let messages = messages(&result);
    let types: Vec<&Value> = messages.iter().map(|m| &m["type"]).collect();
    assert_eq!(types, ["ECHO_REQUEST", "FLOW_MOD", "BARRIER_REQUEST"]);
    assert_eq!(messages[1]["error"]["field"], "flow_mod");
    assert_eq!(messages[1]["error"]["offset"], 8);
    assert_eq!(messages[2]["offset"], 22);
}

#[test]
fn input_that_is_not_openflow_is_an_error_after_the_messages_before_it() {
    for (rest, reason) in [
        (
            &b"\0\0 garbage"[..],
            "version 0 is not a version of OpenFlow",
        ),
        (
            &b"\x16\x03\x01 TLS"[..],
            "version 22 is not a version of OpenFlow",
        ),
        (&[4, 2, 0, 7, 0, 0, 0, 0], "length 7 is less than 8"),
        (&[4, 2, 0, 0, 0, 0, 0, 0], "length 0 is less than 8"),
        (&ECHO[..9], "it is cut off after 9 of 10 bytes"),
        (&ECHO[..3], "it is cut off after 3 of 8 bytes"),
        (&[5, 20, 0, 8, 0, 0, 0, 0], "version 5 is not supported"),
    ] {
        let result = decode(&["--output", "json"], &[&ECHO[..], rest].concat());
        assert_eq!(result.code, 1, "{reason}");
        let at = "morphctl: message 2, at byte 10: ";
        assert!(
            result.err.starts_with(at) && result.err.contains(reason),
            "{}",
            result.err
        );
        assert_eq!(messages(&result)[0]["type"], "ECHO_REQUEST");
    }
}

#[test]
fn bad_input_is_an_error_and_not_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let huge = folder.path().join("huge");
    // A sparse file, which takes no space on the disk.
    std::fs::File::create(&huge)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let names = [folder.path(), &huge, Path::new("/nowhere/at/all")]
        .map(|path| path.to_str().unwrap().to_owned());
    let [directory, huge, missing] = names;
    for (words, input, code, reason) in [
        (&[&*directory][..], &b""[..], 2, "directory"),
        (
            &[&missing],
            b"",
            2,
            "neither hexadecimal nor a readable file",
        ),
        (&[&huge], b"", 1, "more than 16 MiB"),
        (&["zz", "00"], b"", 2, "not hexadecimal"),
        (&[""], b"", 2, "neither hexadecimal nor a readable file"),
        (&["-"], b"", 1, "the input is empty"),
        (
            &["-"],
            b"no digits at all",
            1,
            "line 1: \"no\" is not hexadecimal",
        ),
        (&["-"], b"04 02\n0", 1, "line 2: \"0\" is not hexadecimal"),
        (&["040"], b"", 1, "not hexadecimal"),
        (
            &["-"],
            &[0xff; 70000],
            1,
            "version 255 is not a version of OpenFlow",
        ),
        (
            &["-"],
            b"0000  04 02\n0010  00",
            1,
            "line 2: the offset is 0010",
        ),
    ] {
        for format in ["table", "json"] {
            let result = decode(&[&["--output", format], words].concat(), input);
            assert_eq!(result.code, code, "{words:?}: {}", result.err);
            assert!(
                result.err.starts_with("morphctl: ") && result.err.contains(reason),
                "{}",
                result.err
            );
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_not_a_failure() {
    let stream = BARRIER.repeat(100_000);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stream");
    std::fs::write(&file, stream).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_morphctl"))
        .arg("decode")
        .arg(&file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
