//! Errors of an app's code.

use std::fmt::{self, Debug};

/// Reason why a turn failed. Made by `?` from any error, or from a text.
///
/// ```
/// use morph_sdk::AppError;
///
/// fn port(text: &str) -> Result<u32, AppError> {
///     let port: u32 = text.parse()?;
///     match port {
///         0 => Err(AppError::new("ports are counted from 1")),
///         port => Ok(port),
///     }
/// }
///
/// assert_eq!(port("0").unwrap_err().to_string(), "ports are counted from 1");
/// assert!(port("one").is_err());
/// ```
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
///
/// ```
/// use morph_sdk::MigrationError;
///
/// fn minutes(seconds: u64) -> Result<u64, MigrationError> {
///     match seconds % 60 {
///         0 => Ok(seconds / 60),
///         _ => Err(MigrationError::new(format!("{seconds} s are no whole minutes"))),
///     }
/// }
///
/// assert_eq!(minutes(120), Ok(2));
/// ```
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
