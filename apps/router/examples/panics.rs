//! Router 1.0.0 that panics on its first packet-in: the end-to-end tests upgrade to it to see it rolled back.

mod defect;

use std::process::ExitCode;

use defect::Defect;
use morph_sdk::{App, AppError, Event, Turn};
use router::{Router, V1};

struct Panics;

impl Defect for Panics {
    #[expect(clippy::panic, reason = "it is what it is for")]
    fn event(router: &mut Router<V1>, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        if matches!(event, Event::PacketIn(_)) {
            panic!("a defect in the packet-in handler");
        }
        router.event(event, turn)
    }
}

fn main() -> ExitCode {
    defect::run::<Panics>()
}
