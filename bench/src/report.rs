//! Results, one line each on standard output.

use std::fmt::Display;
use std::time::Duration;

/// A time, in milliseconds with two places.
pub(crate) fn time(name: impl Display, time: Duration) {
    line(name, "ms", format!("{:.2}", time.as_secs_f64() * 1000.0));
}

/// An amount of memory.
pub(crate) fn kilobytes(name: impl Display, kilobytes: u64) {
    line(name, "kB", kilobytes);
}

/// A number of things.
pub(crate) fn count(name: impl Display, count: usize) {
    line(name, "", count);
}

#[expect(clippy::print_stdout, reason = "a command-line tool answers there")]
fn line(name: impl Display, unit: &str, value: impl Display) {
    println!("{name}\t{unit}\t{value}");
}
