//! morphctl, the command line of Morpheus: parses ([`args`]), calls morphd ([`call`], [`follow`]) and prints ([`print`]).
//! [`decode`] needs no morphd.

mod args;
mod argument;
mod call;
mod decode;
mod doctor;
mod endpoint;
mod events;
mod failure;
mod follow;
mod print;
mod schema;
mod store;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, SchemaVerb, Verb};
use crate::failure::Failure;
use crate::print::Output;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // --help and --version come this way too, with code 0. Nobody reads a message that cannot be written.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(failure::USAGE));
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "morphctl: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    if let Verb::Decode { message } = &cli.verb {
        return decode::run(message, cli.output);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Unreachable(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(async {
        // Of two folders: no morphd is asked.
        if let Verb::Schema(SchemaVerb::Diff { old, new }) = &cli.verb {
            return schema::diff(old, new, &mut Output::new(cli.output)).await;
        }
        let reached = endpoint::reach(cli.endpoint).await;
        Box::pin(call::run(cli.verb, reached, Output::new(cli.output))).await
    })
}
