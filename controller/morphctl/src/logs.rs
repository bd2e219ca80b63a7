//! `morphctl logs`: the lines that an app's instances wrote on standard error.

use morph_api::management::{LogLine, LogsRequest};

use crate::client::{Client, next, open};
use crate::failure::Failure;
use crate::follow::follow;
use crate::print::Output;

pub(crate) async fn run(
    request: LogsRequest,
    client: &mut Client,
    out: &mut Output,
) -> Result<(), Failure> {
    let probe = client.clone();
    let follows = request.follow;
    let mut stream = open(&probe, client.logs(request)).await?;
    if follows {
        let print =
            |out: &mut Output, line: &LogLine| out.lines("logs", std::slice::from_ref(line));
        return follow(&probe, out, stream, print).await;
    }
    let mut lines = Vec::new();
    while let Some(line) = next(&probe, &mut stream).await? {
        lines.push(line);
    }
    out.lines("logs", &lines)
}
