//! Messages of D-Bus as bytes: little-endian, every value aligned to its size from the beginning of
//! the message (D-Bus specification, "Message Protocol").

/// The part of the header that has one length.
pub(crate) const FIXED: usize = 16;
/// Longest message that is taken; what systemd answers has some hundred bytes.
const LONGEST: usize = 1 << 20;

const CALL: u8 = 1;
const REPLY: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

const FIELD_PATH: u8 = 1;
const FIELD_INTERFACE: u8 = 2;
const FIELD_MEMBER: u8 = 3;
const FIELD_ERROR: u8 = 4;
const FIELD_REPLY_SERIAL: u8 = 5;
const FIELD_DESTINATION: u8 = 6;
const FIELD_SIGNATURE: u8 = 8;

/// Arguments of a call, as they are appended. Each begins at a multiple of 8, as its body does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Body {
    bytes: Vec<u8>,
}

/// The value of a property.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    /// `s`
    Text(&'a str),
    /// `b`
    Flag(bool),
    /// `au`
    Pids(&'a [u32]),
}

impl Body {
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, number: u32) -> &mut Self {
        self.align(4);
        self.bytes.extend(number.to_le_bytes());
        self
    }

    /// `s` and `o`.
    pub(crate) fn string(&mut self, text: &str) -> &mut Self {
        self.number(size(text.len()));
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
        self
    }

    /// `g`.
    fn signature(&mut self, text: &str) -> &mut Self {
        self.bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
        self
    }

    /// `au`.
    pub(crate) fn pids(&mut self, pids: &[u32]) -> &mut Self {
        self.array(4, |body| {
            for pid in pids {
                body.number(*pid);
            }
        })
    }

    /// `a(sv)`.
    pub(crate) fn properties(&mut self, properties: &[(&str, Value<'_>)]) -> &mut Self {
        self.array(8, |body| {
            for (name, value) in properties {
                body.align(8);
                body.string(name).variant(*value);
            }
        })
    }

    /// An empty array of structures, whatever is in them.
    pub(crate) fn no_properties(&mut self) -> &mut Self {
        self.array(8, |_empty| {})
    }

    fn variant(&mut self, value: Value<'_>) {
        match value {
            Value::Text(text) => self.signature("s").string(text),
            Value::Flag(flag) => self.signature("b").number(u32::from(flag)),
            Value::Pids(pids) => self.signature("au").pids(pids),
        };
    }

    /// The length counts neither itself nor what aligns the first element.
    fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Self)) -> &mut Self {
        self.number(0);
        let counter = self.bytes.len() - 4;
        self.align(alignment);
        let begin = self.bytes.len();
        elements(self);
        let length = size(self.bytes.len() - begin).to_le_bytes();
        if let Some(place) = self.bytes.get_mut(counter..counter + 4) {
            place.copy_from_slice(&length);
        }
        self
    }
}

/// Nothing that is written here is near the limit of a `u32`.
fn size(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// A call of a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) destination: &'static str,
    pub(crate) path: &'static str,
    pub(crate) interface: &'static str,
    pub(crate) member: &'static str,
    /// Types of the body.
    pub(crate) signature: &'static str,
    pub(crate) body: Body,
}

impl Message {
    /// The message with its serial number, which its answer names.
    pub(crate) fn to_bytes(&self, serial: u32) -> Vec<u8> {
        let mut head = Body::default();
        head.bytes.extend([b'l', CALL, 0, 1]);
        head.number(size(self.body.bytes.len())).number(serial);
        head.array(8, |head| {
            for (field, kind, text) in [
                (FIELD_PATH, "o", self.path),
                (FIELD_INTERFACE, "s", self.interface),
                (FIELD_MEMBER, "s", self.member),
                (FIELD_DESTINATION, "s", self.destination),
            ] {
                head.align(8);
                head.bytes.push(field);
                head.signature(kind).string(text);
            }
            if !self.signature.is_empty() {
                head.align(8);
                head.bytes.push(FIELD_SIGNATURE);
                head.signature("g").signature(self.signature);
            }
        });
        head.align(8);
        head.bytes.extend(&self.body.bytes);
        head.bytes
    }
}

/// What a received message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The answer to a call, an error included.
    Reply,
    /// A signal.
    Signal,
    /// A call, which nobody should make here.
    Other,
}

/// A message from the bus, as far as we want it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) kind: Kind,
    /// Serial number of the call that it answers.
    pub(crate) reply_to: Option<u32>,
    /// Name of the method or signal.
    pub(crate) member: Option<String>,
    /// Name of the error, if it is one.
    pub(crate) error: Option<String>,
    /// The texts and paths at the beginning of the body; numbers between them are left out.
    pub(crate) strings: Vec<String>,
}

/// Length of a message in bytes from its first [`FIXED`] ones; `None` for what is no message.
pub(crate) fn length(fixed: &[u8]) -> Option<usize> {
    let mut reader = Reader {
        bytes: fixed,
        at: 0,
    };
    if reader.byte()? != b'l' {
        return None;
    }
    reader.at = 4;
    let body = usize::try_from(reader.number()?).ok()?;
    reader.at = 12;
    let fields = usize::try_from(reader.number()?).ok()?;
    let head = FIXED.checked_add(fields)?.checked_next_multiple_of(8)?;
    head.checked_add(body).filter(|length| *length <= LONGEST)
}

impl Received {
    /// Reads a message of the length that [`length`] says.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { bytes, at: 1 };
        let kind = reader.byte()?;
        let mut received = Self {
            kind: match kind {
                REPLY | ERROR => Kind::Reply,
                SIGNAL => Kind::Signal,
                _ => Kind::Other,
            },
            reply_to: None,
            member: None,
            error: None,
            strings: Vec::new(),
        };
        let mut signature = String::new();
        reader.at = 12;
        let end = FIXED.checked_add(usize::try_from(reader.number()?).ok()?)?;
        while reader.at < end {
            reader.align(8);
            let field = reader.byte()?;
            match (field, reader.signature()?.as_str()) {
                (FIELD_MEMBER, "s") => received.member = Some(reader.string()?),
                (FIELD_ERROR, "s") => received.error = Some(reader.string()?),
                (FIELD_REPLY_SERIAL, "u") => received.reply_to = Some(reader.number()?),
                (FIELD_SIGNATURE, "g") => signature = reader.signature()?,
                (_, "s" | "o") => drop(reader.string()?),
                (_, "u") => drop(reader.number()?),
                (_, "g") => drop(reader.signature()?),
                _ => return None,
            }
        }
        reader.align(8);
        for kind in signature.chars() {
            match kind {
                's' | 'o' => received.strings.push(reader.string()?),
                'u' => drop(reader.number()?),
                _ => break,
            }
        }
        // An error without a name is one all the same.
        if kind == ERROR && received.error.is_none() {
            received.error = Some(String::new());
        }
        Some(received)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u32> {
        self.align(4);
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn string(&mut self) -> Option<String> {
        let length = usize::try_from(self.number()?).ok()?;
        self.text(length)
    }

    fn signature(&mut self) -> Option<String> {
        let length = usize::from(self.byte()?);
        self.text(length)
    }

    /// A text and the zero behind it.
    fn text(&mut self, length: usize) -> Option<String> {
        let text = String::from_utf8(self.take(length)?.to_vec()).ok()?;
        (self.byte()? == 0).then_some(text)
    }
}

#[cfg(test)]
mod tests;
