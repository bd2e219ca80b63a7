//! Bundles on their way into the state directory. All that reads and writes files runs beside the runtime's threads.

use std::path::PathBuf;

use tonic::Status;

use crate::bundle::{Bundle, BundleError, Draft};
use crate::children::AppUsers;
use crate::launch::{self, DescribeError};

/// Reads a bundle's manifest and digests its files.
pub(super) async fn examine(path: PathBuf) -> Result<Bundle, Status> {
    blocking(move || Bundle::examine(&path).map_err(status)).await
}

/// Copies a bundle, and asks the copy what it has unless it is to be installed unchecked.
pub(super) async fn draft(
    users: Option<AppUsers>,
    mut bundle: Bundle,
    bundles: PathBuf,
    unchecked: bool,
) -> Result<(Bundle, Draft), Status> {
    let work = move || {
        let draft = bundle.draft(&bundles).map_err(status)?;
        if !unchecked {
            let described = launch::describe(users, &bundle, draft.folder());
            bundle.description = Some(described.map_err(refusal)?);
        }
        Ok((bundle, draft))
    };
    blocking(work).await
}

/// Gives a copy its name.
pub(super) async fn keep(draft: Draft) -> Result<PathBuf, Status> {
    blocking(move || draft.keep().map_err(status)).await
}

fn refusal(error: DescribeError) -> Status {
    let advice = match &error {
        DescribeError::Silent(_) => {
            " (it has to answer `--schema`, as executables with the SDK do; `morphctl app install --unchecked PATH` installs it all \
             the same)"
        }
        DescribeError::Differs(_) => "",
    };
    Status::failed_precondition(format!("{error}{advice}"))
}

fn status(error: BundleError) -> Status {
    Status::failed_precondition(error.to_string())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(Status::internal(
            "the task that reads the bundle was cancelled",
        )),
    }
}
