//! Identifiers of pod sandboxes and containers: 64 lowercase hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const LENGTH: usize = 64;

/// A string that is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an identifier of 64 lowercase hexadecimal digits")]
pub struct IdError(String);

macro_rules! identifier {
    ($name:ident, $what:literal) => {
        #[doc = concat!("Identifier of ", $what, ", 64 lowercase hexadecimal digits.")]
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// A new identifier from the kernel's random source.
            ///
            /// # Errors
            /// Only if the kernel has no random source to offer (`getrandom` fails).
            pub fn generate() -> std::io::Result<Self> {
                Ok(Self(random_hex()?))
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The first 13 digits, as `crictl` shows them.
            #[must_use]
            pub fn short(&self) -> &str {
                &self.0[..13]
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::try_from(text.to_owned())
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                if text.len() == LENGTH && text.bytes().all(hex) {
                    Ok(Self(text))
                } else {
                    Err(IdError(text))
                }
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.short())
            }
        }
    };
}

identifier!(PodId, "a pod sandbox");
identifier!(ContainerId, "a container");

fn random_hex() -> std::io::Result<String> {
    let mut bytes = [0_u8; LENGTH / 2];
    let mut filled = 0;
    while filled < bytes.len() {
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_identifiers_parse_and_differ() {
        let a = PodId::generate().unwrap();
        let b = PodId::generate().unwrap();
        assert_ne!(a, b);
        assert_eq!(a.as_str().parse::<PodId>().unwrap(), a);
    }

    #[test]
    fn anything_else_is_refused() {
        let upper = "A".repeat(64);
        let long = "0".repeat(65);
        for bad in ["", "abc", upper.as_str(), long.as_str(), "../../etc/passwd"] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad:?}");
        }
    }
}
