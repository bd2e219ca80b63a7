//! `morphctl events`: those that killed their app and were set aside.

use morph_api::management::{
    DropEventRequest, QuarantinedEvent, QuarantinedEventsRequest, RetryEventRequest,
};

use crate::args::EventsVerb;
use crate::argument::App;
use crate::call::{Client, changed, incomplete, looked};
use crate::decode;
use crate::failure::Failure;
use crate::print::Output;
use crate::print::rows::Quarantined;

/// Does what the verb says.
pub(crate) async fn run(
    verb: EventsVerb,
    client: &mut Client,
    out: &mut Output,
) -> Result<(), Failure> {
    let lives = client.clone();
    match verb {
        EventsVerb::Quarantined { app, message } => {
            let app = app.map(|App(name)| name).unwrap_or_default();
            let request = QuarantinedEventsRequest { app };
            let events = looked(client.quarantined_events(request)).await?.events;
            let events: Vec<Quarantined> = events.into_iter().map(Quarantined).collect();
            out.list("events", &events)?;
            match message {
                true => events.iter().try_for_each(|event| whole(out, &event.0)),
                false => Ok(()),
            }
        }
        EventsVerb::Retry { id } => {
            let reply = changed(&lives, client.retry_event(RetryEventRequest { id })).await?;
            let event = reply.event.ok_or_else(|| incomplete("the event"))?;
            out.list("events", &[Quarantined(event)])
        }
        EventsVerb::Drop { id } => {
            let reply = changed(&lives, client.drop_event(DropEventRequest { id })).await?;
            let mut event = reply.event.ok_or_else(|| incomplete("the event"))?;
            event.state = "dropped".to_owned();
            out.list("events", &[Quarantined(event)])
        }
    }
}

/// The message, field by field, and its bytes as `morphctl decode` takes them.
fn whole(out: &mut Output, event: &QuarantinedEvent) -> Result<(), Failure> {
    if event.message.is_empty() {
        return Ok(());
    }
    let mut text = format!("\n{}\n{}", event.id, decode::text(&event.message));
    for (index, row) in event.message.chunks(16).enumerate() {
        let bytes: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push_str(&format!("{:04x}  {}\n", index * 16, bytes.join(" ")));
    }
    out.text(&text)
}
