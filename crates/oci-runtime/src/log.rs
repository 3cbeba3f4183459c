//! The runtime's own log, in JSON lines.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;

/// How much of the end of a log is looked at.
const TAIL: u64 = 64 << 10;

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    level: String,
    #[serde(default)]
    msg: String,
}

/// The message of the last line at level error or worse in a runtime's log; `None` when there is
/// none, or no log. Understands `{"level":…,"msg":…}` (runc, crun, youki) and lines of
/// `level=error msg="…"` (runc's text format).
#[must_use]
pub fn log_error(log: &Path) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let len = file.seek(SeekFrom::End(0)).ok()?;
    file.seek(SeekFrom::Start(len.saturating_sub(TAIL))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).ok()?;
    last_error(&String::from_utf8_lossy(&bytes))
}

/// As [`log_error`], of text.
pub(crate) fn last_error(text: &str) -> Option<String> {
    text.lines()
        .rev()
        .find_map(|line| json_error(line).or_else(|| text_error(line)))
}

fn json_error(line: &str) -> Option<String> {
    let line: Line = serde_json::from_str(line).ok()?;
    let bad = ["error", "fatal", "panic"]
        .iter()
        .any(|l| line.level.eq_ignore_ascii_case(l));
    (bad && !line.msg.is_empty()).then_some(line.msg)
}

fn text_error(line: &str) -> Option<String> {
    let (head, rest) = line.split_once("msg=")?;
    if !["level=error", "level=fatal", "level=panic"]
        .iter()
        .any(|level| head.contains(level))
    {
        return None;
    }
    // A quoted value follows JSON's rules closely enough; a bare one ends at a blank.
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<String>();
    match values.next() {
        Some(Ok(message)) => Some(message),
        _ => rest.split_whitespace().next().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_error_of_each_format() {
        for (text, expected) in [
            (r#"{"level":"error","msg":"a","time":"t"}"#, Some("a")),
            (
                "{\"level\":\"error\",\"msg\":\"a\"}\n{\"level\":\"error\",\"msg\":\"b\"}\n",
                Some("b"),
            ),
            (
                "{\"level\":\"error\",\"msg\":\"a\"}\n{\"level\":\"warning\",\"msg\":\"b\"}\n",
                Some("a"),
            ),
            (
                r#"{"msg":"no `x`","level":"error","time":"t"}"#,
                Some("no `x`"),
            ),
            (
                r#"{"timestamp":"t","level":"ERROR","msg":"y","fields":{}}"#,
                Some("y"),
            ),
            (
                r#"time="t" level=error msg="say \"hi\"" x=y"#,
                Some("say \"hi\""),
            ),
            ("time=t level=fatal msg=bare x=y", Some("bare")),
            ("time=t level=info msg=bare", None),
            ("plain words", None),
            ("", None),
        ] {
            assert_eq!(last_error(text).as_deref(), expected, "{text}");
        }
    }
}
