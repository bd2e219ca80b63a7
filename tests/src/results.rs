//! Figures of the long runs, in the form that `scripts/results` collects into `tests/RESULTS.md`.

use std::fmt::Display;

/// Whether the long forms of the tests are asked for (`MORPH_LONG`).
pub fn long() -> bool {
    std::env::var_os("MORPH_LONG").is_some()
}

/// Prints a figure with its limit (empty where there is none). `name` is `FILE/FIGURE`, with the file name of the test.
pub fn result(name: &str, value: impl Display, limit: impl Display) {
    let mut cells = vec![value.to_string(), limit.to_string()];
    cells.retain(|cell| !cell.is_empty());
    result_row(name, &cells);
}

/// Prints a row of a table with columns of its own. A row `FILE/` holds the headings.
#[expect(
    clippy::print_stdout,
    reason = "the test's output is what is collected"
)]
pub fn result_row(name: &str, cells: &[String]) {
    println!("RESULT {name} | {}", cells.join(" | "));
}
