//! `morphctl events`: poison events, which killed their app three times and are in quarantine.

use morph_api::management::QuarantinedEvent;

use crate::client::{Client, change, read};
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
            match reply.event {
                Some(event) => out.list("events", &[QuarantineRow(event)]),
                None => list(out, reply.events, "queued again", &reply.refused),
            }
        }
        EventCall::Drop(request) => {
            let reply = change(&probe, client.drop_event(request)).await?;
            let events = reply.events.into_iter().map(dropped).collect();
            match reply.event {
                Some(event) => out.list("events", &[QuarantineRow(dropped(event))]),
                None => list(out, events, "dropped", &reply.refused),
            }
        }
    }
}

fn dropped(event: QuarantinedEvent) -> QuarantinedEvent {
    QuarantinedEvent {
        state: "dropped".to_owned(),
        ..event
    }
}

/// Lists the events for which something was done, says how many they are, and why it was not done for others.
fn list(
    out: &mut Output,
    events: Vec<QuarantinedEvent>,
    done: &str,
    refused: &[String],
) -> Result<(), Failure> {
    let rows: Vec<QuarantineRow> = events.into_iter().map(QuarantineRow).collect();
    out.list("events", &rows)?;
    let count = rows.len();
    let events = if count == 1 { "event" } else { "events" };
    out.note(&format!("\n{count} {events} {done}.\n"))?;
    for why in refused {
        out.note(&format!("Not {done}: {why}\n"))?;
    }
    Ok(())
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
