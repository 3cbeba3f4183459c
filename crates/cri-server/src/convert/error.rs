//! What is wrong with a request, and where.

use pinpod_model::{Classify, ErrorClass};

/// A field of a request that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct ConvertError {
    field: String,
    problem: Problem,
}

/// What is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It must be there.
    #[error("is required")]
    Missing,
    /// It must not be there beside another field.
    #[error("cannot be set together with {with}")]
    Excluded {
        /// The other field.
        with: &'static str,
    },
    /// It needs something of another field.
    #[error("needs {what}")]
    Needs {
        /// What it needs.
        what: &'static str,
    },
    /// A number outside its range.
    #[error("is {value}, outside {min} to {max}")]
    Range {
        /// The number.
        value: i64,
        /// The smallest allowed.
        min: i64,
        /// The largest allowed.
        max: i64,
    },
    /// Not a value of its enum, or one that has no meaning here.
    #[error("is {value}, which is not one of {allowed}")]
    Choice {
        /// The value.
        value: String,
        /// Those allowed.
        allowed: &'static str,
    },
    /// A text that does not have its form.
    #[error("is {value:?}, not {form}")]
    Form {
        /// The text.
        value: String,
        /// The form.
        form: &'static str,
    },
    /// A message that is too long.
    #[error("has {length} bytes, more than {most}")]
    Size {
        /// Its length.
        length: usize,
        /// The longest allowed.
        most: usize,
    },
    /// A list of another length.
    #[error("has {count} entries, not {expected}")]
    Count {
        /// How many there are.
        count: usize,
        /// How many there should be.
        expected: &'static str,
    },
}

impl ConvertError {
    /// The field, from the top of the request's message down.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What is wrong with it.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    pub(super) fn new(field: impl Into<String>, problem: Problem) -> Self {
        Self {
            field: field.into(),
            problem,
        }
    }

    pub(super) fn missing(field: impl Into<String>) -> Self {
        Self::new(field, Problem::Missing)
    }

    pub(super) fn form(field: impl Into<String>, value: &str, form: &'static str) -> Self {
        Self::new(
            field,
            Problem::Form {
                value: value.to_owned(),
                form,
            },
        )
    }

    /// The same error, seen from the message that holds this one as `outer`.
    pub(super) fn within(self, outer: &str) -> Self {
        Self {
            field: format!("{outer}.{}", self.field),
            ..self
        }
    }

    /// The same error, seen from the message that holds this one in its list `outer`.
    pub(super) fn at(self, outer: &str, index: usize) -> Self {
        Self {
            field: format!("{outer}[{index}].{}", self.field),
            ..self
        }
    }
}

impl Classify for ConvertError {
    fn class(&self) -> ErrorClass {
        ErrorClass::InvalidArgument
    }
}

/// `value` if it lies within the range.
pub(super) fn in_range(field: &str, value: i64, min: i64, max: i64) -> Result<i64, ConvertError> {
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(ConvertError::new(field, Problem::Range { value, min, max }))
    }
}

/// A text that ends up in an argument vector, an environment or a path, where NUL ends it.
pub(super) fn without_nul(field: impl Into<String>, value: String) -> Result<String, ConvertError> {
    if value.contains('\0') {
        Err(ConvertError::form(field, &value, "free of NUL"))
    } else {
        Ok(value)
    }
}

/// An absolute path in a container, which is looked up there later, `..` and links included.
pub(super) fn absolute_path(field: &str, value: String) -> Result<String, ConvertError> {
    let value = without_nul(field, value)?;
    if value.starts_with('/') {
        Ok(value)
    } else {
        Err(ConvertError::form(field, &value, "an absolute path"))
    }
}

/// An absolute path on the node that does not climb.
pub(super) fn node_path(field: &str, value: String) -> Result<String, ConvertError> {
    let value = absolute_path(field, value)?;
    if climbs(&value) {
        return Err(ConvertError::form(field, &value, "a path without `..`"));
    }
    Ok(value)
}

/// A relative path that does not climb; may be empty.
pub(super) fn relative_path(field: &str, value: String) -> Result<String, ConvertError> {
    let value = without_nul(field, value)?;
    if value.starts_with('/') || climbs(&value) {
        return Err(ConvertError::form(
            field,
            &value,
            "a relative path without `..`",
        ));
    }
    Ok(value)
}

/// Whether a part of the path is `..`.
pub(super) fn climbs(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}
