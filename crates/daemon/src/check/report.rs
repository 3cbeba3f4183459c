//! Findings, and how they are printed.

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// There.
    Ok,
    /// Not there; pods run, and the consequence says what is different.
    Lacking,
    /// Not there, and no pod can run without it.
    Missing,
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was looked for.
    pub(crate) what: String,
    /// How it stands.
    pub(crate) state: State,
    /// What was found.
    pub(crate) found: String,
    /// What follows from its lack; empty when it is there.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) consequence: &'static str,
}

impl Finding {
    pub(crate) fn ok(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            state: State::Ok,
            found: found.into(),
            consequence: "",
        }
    }

    /// There if `is`, else lacking with that consequence.
    pub(crate) fn wanted(
        what: impl Into<String>,
        is: bool,
        found: impl Into<String>,
        consequence: &'static str,
    ) -> Self {
        Self::of(what, is, found, (State::Lacking, consequence))
    }

    /// There if `is`, else missing with that consequence.
    pub(crate) fn needed(
        what: impl Into<String>,
        is: bool,
        found: impl Into<String>,
        consequence: &'static str,
    ) -> Self {
        Self::of(what, is, found, (State::Missing, consequence))
    }

    fn of(
        what: impl Into<String>,
        is: bool,
        found: impl Into<String>,
        otherwise: (State, &'static str),
    ) -> Self {
        let (state, consequence) = if is { (State::Ok, "") } else { otherwise };
        Self {
            what: what.into(),
            state,
            found: found.into(),
            consequence,
        }
    }

    pub(crate) fn is_fatal(&self) -> bool {
        self.state == State::Missing
    }
}

/// A line a finding, its consequence below it.
pub(crate) fn table(findings: &[Finding]) -> String {
    let width = findings
        .iter()
        .map(|finding| finding.what.len())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for Finding {
        what,
        state,
        found,
        consequence,
    } in findings
    {
        let mark = match state {
            State::Ok => "ok     ",
            State::Lacking => "lacking",
            State::Missing => "MISSING",
        };
        out.push_str(&format!("{mark}  {what:width$}  {found}\n"));
        if !consequence.is_empty() {
            out.push_str(&format!("{:7}  {:width$}  → {consequence}\n", "", ""));
        }
    }
    out
}

pub(crate) fn json(findings: &[Finding]) -> serde_json::Result<String> {
    serde_json::to_string_pretty(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consequences_are_told_only_of_what_is_not_there() {
        let findings = [
            Finding::wanted("a", true, "x", "bad"),
            Finding::wanted("bcd", false, "none", "worse"),
        ];
        assert_eq!(
            table(&findings),
            "ok       a    x\nlacking  bcd  none\n              → worse\n"
        );
        assert!(!findings.iter().any(Finding::is_fatal));
        assert!(Finding::needed("a", false, "", "").is_fatal());
    }
}
