//! Signals by name and number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A string that names no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a signal name or number")]
pub struct SignalError(String);

/// A signal number of Linux, 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signal(u8);

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
const RT_MIN: u8 = 34;
const RT_MAX: u8 = 64;

impl Signal {
    /// Ask to end.
    pub const TERM: Self = Self(15);
    /// End at once.
    pub const KILL: Self = Self(9);

    /// A signal by its number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        (1..=RT_MAX).contains(&number).then_some(Self(number))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> i32 {
        i32::from(self.0)
    }
}

impl FromStr for Signal {
    type Err = SignalError;

    /// Takes `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`, `RTMAX-2`, any case, as image configs write.
    fn from_str(text: &str) -> Result<Self, SignalError> {
        let error = || SignalError(text.to_owned());
        if let Ok(number) = text.parse::<u8>() {
            return Self::from_number(number).ok_or_else(error);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(index) = NAMES.iter().position(|known| *known == name) {
            return u8::try_from(index + 1).map(Self).map_err(|_| error());
        }
        let offset = |rest: &str, sign: char| -> Option<u8> {
            if rest.is_empty() {
                Some(0)
            } else {
                rest.strip_prefix(sign)?.parse().ok()
            }
        };
        let number = match name {
            "POLL" => Some(29),
            "CLD" => Some(17),
            "IOT" => Some(6),
            _ => name
                .strip_prefix("RTMIN")
                .and_then(|rest| offset(rest, '+')?.checked_add(RT_MIN))
                .or_else(|| {
                    let rest = name.strip_prefix("RTMAX")?;
                    RT_MAX.checked_sub(offset(rest, '-')?)
                }),
        };
        match number {
            Some(n) if (6..=29).contains(&n) || (RT_MIN..=RT_MAX).contains(&n) => Ok(Self(n)),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0) - 1) {
            Some(name) => write!(f, "SIG{name}"),
            None if self.0 == RT_MIN => f.write_str("SIGRTMIN"),
            None if self.0 > RT_MIN => write!(f, "SIGRTMIN+{}", self.0 - RT_MIN),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("term", 15),
            ("9", 9),
            ("SIGRTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-2", 62),
            ("SIGRTMAX", 64),
            ("SYS", 31),
        ] {
            assert_eq!(
                text.parse::<Signal>().map(Signal::number),
                Ok(number),
                "{text}"
            );
        }
        for bad in [
            "", "0", "65", "SIGFOO", "RTMIN-1", "RTMIN+31", "RTMAX+1", "SIG",
        ] {
            assert!(bad.parse::<Signal>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_number_prints_as_something_that_parses_to_it() {
        for number in 1..=64 {
            let signal = Signal::from_number(number).unwrap();
            assert_eq!(signal.to_string().parse::<Signal>(), Ok(signal));
        }
    }
}
