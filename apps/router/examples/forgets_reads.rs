//! Router 1.0.0 that does not declare the links that it reads: the end-to-end tests upgrade to it to see that it ends with a
//! reason, and no rule is touched.

mod defect;

use std::process::ExitCode;

use defect::Defect;
use morph_sdk::{App, TableShape};
use router::tables::LINKS;
use router::{Router, V1};

struct Forgets;

impl Defect for Forgets {
    fn reads() -> Vec<TableShape> {
        let mut reads = Router::<V1>::reads();
        reads.retain(|table| table.name != LINKS.name());
        reads
    }
}

fn main() -> ExitCode {
    defect::run::<Forgets>()
}
