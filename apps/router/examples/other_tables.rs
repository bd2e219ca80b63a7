//! The tables of router 2.0.0 without a migration: with `schema = 1` in its manifest it is a release that has other tables under
//! the same schema version.

use std::process::ExitCode;

use router::{Router, V2};

fn main() -> ExitCode {
    morph_sdk::run(Router::<V2>::new)
}
