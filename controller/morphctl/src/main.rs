//! morphctl, the command line of Morpheus.
//!
//! [`args`] turns the command line into a [`command::Command`]; the other modules carry it out and [`print`] the answer.

mod args;
mod argument;
mod backup;
mod call;
mod client;
mod command;
mod config;
mod decode;
mod doctor;
mod endpoint;
mod events;
mod failure;
mod follow;
mod logs;
mod print;
mod schema;
mod status;
mod store;
mod upgrade;

use std::io::Write;
use std::process::ExitCode;

use crate::args::CommandLine;
use crate::command::Command;
use crate::failure::Failure;
use crate::print::Output;

fn main() -> ExitCode {
    let line = match args::parse() {
        Ok(line) => line,
        Err(error) => {
            // --help and --version arrive here too, with code 0. If stderr is closed, there is nobody to tell.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(failure::USAGE));
        }
    };
    match run(line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "morphctl: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn run(line: CommandLine) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Unreachable(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(Box::pin(carry_out(line)))
}

async fn carry_out(line: CommandLine) -> Result<(), Failure> {
    let CommandLine {
        endpoint,
        format,
        command,
    } = line;
    let out = &mut Output::new(format);
    match command {
        Command::Decode(words) => decode::run(&words, format),
        Command::SchemaDiff { old, new } => schema::diff(&old, &new, out).await,
        Command::StoreRestore { backup, target } => {
            backup::restore(&backup, &target, endpoint, out).await
        }
        Command::Doctor(options) => {
            doctor::run(&options, endpoint::connect(endpoint).await, out).await
        }
        Command::Call(call) => {
            let client = &mut client::new(endpoint::connect(endpoint).await?);
            call::run(call, client, out).await
        }
    }
}
