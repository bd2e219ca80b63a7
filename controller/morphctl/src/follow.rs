//! Endless streams (`--follow`, `store watch`), printed message by message.

use tonic::Streaming;

use crate::client::{Client, Interruption, wait};
use crate::failure::{Effect, Failure};
use crate::print::Output;

/// Prints each message until Ctrl-C, or until nobody reads the output any more.
pub(crate) async fn follow<T>(
    client: &Client,
    out: &mut Output,
    mut stream: Streaming<T>,
    print: impl Fn(&mut Output, &T) -> Result<(), Failure>,
) -> Result<(), Failure> {
    loop {
        let message = match wait(client, stream.message()).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => {
                return Err(Failure::Unreachable(
                    "morphd ended the stream (to go on, repeat the command)".into(),
                ));
            }
            Ok(Err(status)) => return Err(Failure::of_status(&status, Effect::Reads)),
            Err(Interruption::CtrlC) => return Ok(()),
            Err(interruption) => return Err(Failure::Unreachable(interruption.reason().into())),
        };
        print(out, &message)?;
        if out.is_closed() {
            return Ok(());
        }
    }
}
