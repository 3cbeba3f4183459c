//! Messages of Kubernetes' channel protocols: one channel number, then bytes. Pure.
//!
//! - `*.channel.k8s.io`: binary messages; the first byte is the channel.
//! - `*base64.channel.k8s.io`: text messages; the first character is the channel's digit, the rest
//!   is base64.
//! - `v5.channel.k8s.io`: as the binary form, and a message of the two bytes 255 and a channel says
//!   that no more will come on it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The first byte of a message that ends a channel.
const CLOSE: u8 = 255;

/// How bytes are put into messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    Binary {
        /// Whether a channel can be ended by itself (`v5`).
        half_close: bool,
    },
    /// As text.
    Base64,
}

/// A message that fits no channel protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The first character is no digit.
    #[error("text message that begins with no channel")]
    NoChannel,
    /// The rest is not base64.
    #[error("text message that is not base64")]
    NotBase64,
    /// A message that ends a channel, and says more or less than which.
    #[error("malformed message to end a channel")]
    Close,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelFrame {
    /// Bytes of a channel.
    Data(u8, Vec<u8>),
    /// No more will come on the channel.
    Close(u8),
    /// Nothing: a message without a byte.
    Empty,
}

impl Encoding {
    /// Reads the payload of a message.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn decode(self, message: &[u8]) -> Result<ChannelFrame, MessageError> {
        let Some((first, rest)) = message.split_first() else {
            return Ok(ChannelFrame::Empty);
        };
        match self {
            Self::Binary { half_close: true } if *first == CLOSE => match rest {
                [channel] => Ok(ChannelFrame::Close(*channel)),
                _ => Err(MessageError::Close),
            },
            Self::Binary { .. } => Ok(ChannelFrame::Data(*first, rest.to_owned())),
            Self::Base64 => {
                if !first.is_ascii_digit() {
                    return Err(MessageError::NoChannel);
                }
                let bytes = STANDARD.decode(rest).map_err(|_| MessageError::NotBase64)?;
                Ok(ChannelFrame::Data(first - b'0', bytes))
            }
        }
    }

    /// The payload of a message with bytes of a channel; a text encoding has channels 0 to 9.
    #[must_use]
    pub fn encode(self, channel: u8, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Binary { .. } => [&[channel], bytes].concat(),
            Self::Base64 => {
                debug_assert!(channel < 10, "a channel is one digit");
                let text = STANDARD.encode(bytes);
                [&[b'0'.saturating_add(channel)], text.as_bytes()].concat()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const V4: Encoding = Encoding::Binary { half_close: false };
    const V5: Encoding = Encoding::Binary { half_close: true };

    #[test]
    fn messages() {
        for (encoding, message, expected) in [
            (V4, &b""[..], Ok(ChannelFrame::Empty)),
            (V4, b"\0", Ok(ChannelFrame::Data(0, vec![]))),
            (V4, b"\x01abc", Ok(ChannelFrame::Data(1, b"abc".to_vec()))),
            (V4, b"\xff\0", Ok(ChannelFrame::Data(255, vec![0]))),
            (V5, b"\xff\0", Ok(ChannelFrame::Close(0))),
            (V5, b"\xff", Err(MessageError::Close)),
            (V5, b"\xff\0\0", Err(MessageError::Close)),
            (V5, b"\0x", Ok(ChannelFrame::Data(0, b"x".to_vec()))),
            (Encoding::Base64, b"", Ok(ChannelFrame::Empty)),
            (Encoding::Base64, b"0", Ok(ChannelFrame::Data(0, vec![]))),
            (
                Encoding::Base64,
                b"0aGk=",
                Ok(ChannelFrame::Data(0, b"hi".to_vec())),
            ),
            (Encoding::Base64, b"0aGk", Err(MessageError::NotBase64)),
            (Encoding::Base64, b"0%%%%", Err(MessageError::NotBase64)),
            (Encoding::Base64, b"\0aGk=", Err(MessageError::NoChannel)),
        ] {
            assert_eq!(encoding.decode(message), expected, "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back(
            channel in 0_u8..10,
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            for encoding in [V4, V5, Encoding::Base64] {
                let message = encoding.encode(channel, &bytes);
                let expected = ChannelFrame::Data(channel, bytes.clone());
                prop_assert_eq!(encoding.decode(&message), Ok(expected));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            for encoding in [V4, V5, Encoding::Base64] {
                encoding.decode(&bytes).ok();
            }
        }
    }
}
