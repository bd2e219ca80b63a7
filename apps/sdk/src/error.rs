//! Errors of an app's code.

use std::fmt::{self, Debug};

/// Reason why a turn failed. Made by `?` from any error, or from a text.
pub struct AppError(Box<dyn std::error::Error + Send + Sync>);

impl AppError {
    /// Makes an error with this message.
    pub fn new(message: impl fmt::Display) -> Self {
        AppError(message.to_string().into())
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for AppError {
    fn from(error: E) -> Self {
        AppError(Box::new(error))
    }
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Debug for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reason why rows cannot be mapped. Made by `?` from any error, or from a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationError(String);

impl MigrationError {
    /// Makes an error with this message.
    pub fn new(message: impl fmt::Display) -> Self {
        MigrationError(message.to_string())
    }
}

impl<E: std::error::Error> From<E> for MigrationError {
    fn from(error: E) -> Self {
        MigrationError(error.to_string())
    }
}

impl fmt::Display for MigrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
