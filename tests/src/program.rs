//! Programs in Python that pass frames on between ports of switches, and the cables that lead to them.

use crate::lab::Lab;
use crate::morpheus::repository;
use crate::newflows::PYTHON;
use crate::shape::no_offloads;
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

/// Program that is running. Dropping the value ends it.
pub(crate) struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Lab {
    /// Starts a program of the folder `mininet`, and waits for its first line.
    pub(crate) fn start_program(&self, name: &str, arguments: &[&str]) -> Result<Program> {
        let mut command = self.sandbox().command(PYTHON);
        command.arg(repository().join("mininet").join(name));
        let mut child = command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().context("no standard input")?;
        let output = child.stdout.take().context("no standard output")?;
        let mut output = BufReader::new(output);
        output.read_line(&mut String::new())?;
        Ok(Program {
            child,
            input,
            output,
        })
    }
}

impl Program {
    /// Sends an empty line. Returns the line that answers it.
    pub(crate) fn ask(&mut self) -> Result<String> {
        writeln!(self.input)?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Adds a cable whose ends take and send all frames as they are, and have no address.
pub(crate) fn plan_open_cable(script: &mut String, here: &str, there: &str) {
    let _ = writeln!(
        script,
        "ip link add {here} type veth peer name {there}\n\
         sysctl -qw net.ipv6.conf.{here}.disable_ipv6=1 net.ipv6.conf.{there}.disable_ipv6=1\n\
         ip link set {here} up promisc on\n\
         ip link set {there} up"
    );
    no_offloads(script, "", here);
    no_offloads(script, "", there);
}
