//! `morphctl events`: poison events, which killed their app three times and are in quarantine.

use morph_api::management::QuarantinedEvent;

use crate::client::{Client, change, incomplete, read};
use crate::command::EventCall;
use crate::decode;
use crate::failure::Failure;
use crate::print::Output;
use crate::print::rows::QuarantineRow;

pub(crate) async fn run(
    call: EventCall,
    client: &mut Client,
    out: &mut Output,
) -> Result<(), Failure> {
    let probe = client.clone();
    match call {
        EventCall::Quarantined {
            request,
            with_message,
        } => {
            let events = read(client.quarantined_events(request)).await?.events;
            let rows: Vec<QuarantineRow> = events.into_iter().map(QuarantineRow).collect();
            out.list("events", &rows)?;
            match with_message {
                true => rows.iter().try_for_each(|row| print_message(out, &row.0)),
                false => Ok(()),
            }
        }
        EventCall::Retry(request) => {
            let reply = change(&probe, client.retry_event(request)).await?;
            let event = reply.event.ok_or_else(|| incomplete("the event"))?;
            out.list("events", &[QuarantineRow(event)])
        }
        EventCall::Drop(request) => {
            let reply = change(&probe, client.drop_event(request)).await?;
            let mut event = reply.event.ok_or_else(|| incomplete("the event"))?;
            event.state = "dropped".to_owned();
            out.list("events", &[QuarantineRow(event)])
        }
    }
}

/// Prints the OpenFlow message field by field, then its bytes in a form that `morphctl decode` reads.
fn print_message(out: &mut Output, event: &QuarantinedEvent) -> Result<(), Failure> {
    if event.message.is_empty() {
        return Ok(());
    }
    let mut text = format!("\n{}\n{}", event.id, decode::text(&event.message));
    for (index, row) in event.message.chunks(16).enumerate() {
        let bytes: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push_str(&format!("{:04x}  {}\n", index * 16, bytes.join(" ")));
    }
    out.note(&text)
}
