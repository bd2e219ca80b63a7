//! gRPC statuses of the engine's errors.

use tonic::Status;

use crate::engine::EngineError;

pub(super) fn status(error: &EngineError) -> Status {
    match error {
        EngineError::Corrupt(_) => Status::data_loss(error.to_string()),
        EngineError::TooManyWatches(_) => Status::resource_exhausted(error.to_string()),
        _ => Status::unavailable(error.to_string()),
    }
}
