//! The resize stream: JSON objects `{"Width":80,"Height":24}`, one after the other. Pure.

use serde::Deserialize;

/// The longest beginning of an object that is kept.
const MAX_PENDING: usize = 1024;

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Size {
    pub(crate) width: u16,
    pub(crate) height: u16,
}

/// Puts sizes together from what arrives.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    pending: Vec<u8>,
    broken: bool,
}

impl Sizes {
    /// The last size that is complete with these bytes; sizes before it are past anyway. After
    /// what is no size, nothing more is read.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Option<Size> {
        if self.broken {
            return None;
        }
        self.pending.extend_from_slice(bytes);
        let mut sizes = serde_json::Deserializer::from_slice(&self.pending).into_iter::<Size>();
        let mut last = None;
        let mut read = 0;
        while let Some(size) = sizes.next() {
            match size {
                Ok(size) => last = Some(size),
                Err(error) => {
                    self.broken = !error.is_eof();
                    break;
                }
            }
            read = sizes.byte_offset();
        }
        self.pending.drain(..read);
        self.broken |= self.pending.len() > MAX_PENDING;
        if self.broken {
            self.pending = Vec::new();
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_in_any_pieces() {
        let at = |width, height| Some(Size { width, height });
        let mut sizes = Sizes::default();
        for (bytes, expected) in [
            (&b"{\"Width\":80,\"Height\":24}\n"[..], at(80, 24)),
            (b"{\"Wid", None),
            (b"th\":1,\"Height\":2}", at(1, 2)),
            (
                b"\n{\"Width\":3,\"Height\":4}\n{\"Width\":5,\"Height\":6}\n{",
                at(5, 6),
            ),
            (b"\"Height\":8,\"Width\":7}", at(7, 8)),
            (b"no", None),
            (b"{\"Width\":80,\"Height\":24}", None),
        ] {
            assert_eq!(sizes.push(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn what_never_ends_is_not_kept() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.push(b"{\"Width\":"), None);
        for _ in 0..100 {
            assert_eq!(sizes.push(&[b' '; 100]), None);
        }
        assert!(sizes.broken && sizes.pending.is_empty());
        assert_eq!(
            Sizes::default().push(b"{\"Width\":-1,\"Height\":70000}"),
            None
        );
    }
}
