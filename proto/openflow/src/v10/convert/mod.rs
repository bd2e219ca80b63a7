//! Conversion between the values of OpenFlow 1.0 and 1.3, for programs that treat switches of both versions alike.
//!
//! Every value of 1.0 has a counterpart in 1.3. Many values of 1.3 have none in 1.0: then the error names what is missing,
//! and the type and code with which a switch of 1.3 would have refused it. A round trip from 1.3 to 1.0 and back gives the
//! normal form.

mod action;
mod error;
mod match_;
mod port;

pub use action::{actions_from_v13, actions_to_v13};
pub use error::{ConversionError, error_to_v13};
pub use match_::{match_from_v13, match_to_v13};
pub use port::{port_desc_to_v13, port_from_v13, port_to_v13};
