//! The CRI log format (kubelet, `cri-api/pkg/apis/runtime/v1` `ContainerConfig.log_path`), pure.
//!
//! A line is `<RFC 3339 time> <stdout|stderr> <F|P> <bytes>`. `F` ends a line of the process's
//! output, `P` is a part of one that goes on in the next entry of the same stream: a line longer
//! than [`MAX_PART`], or the last bytes before the stream's end when no newline came.

/// Bytes of output in one entry.
pub(crate) const MAX_PART: usize = 16 << 10;

/// Bytes of entries that are written at once, and a little more. Output of empty lines grows
/// fortyfold in the log, and memory that was used once stays with the process.
const BATCH: usize = 32 << 10;

/// One stream's formatter. It holds back an unfinished line until its end, its limit, or the end
/// of the stream.
#[derive(Debug)]
pub(crate) struct Lines {
    stream: &'static str,
    pending: Vec<u8>,
}

impl Lines {
    /// Of `stdout` or `stderr`.
    pub(crate) fn new(stream: &'static str) -> Self {
        Self {
            stream,
            pending: Vec::new(),
        }
    }

    /// Appends the entries that `data` completes to `out`, all with the same time, and returns what
    /// of `data` is left when `out` has grown to [`BATCH`].
    pub(crate) fn push<'a>(
        &mut self,
        time: &str,
        mut data: &'a [u8],
        out: &mut Vec<u8>,
    ) -> &'a [u8] {
        while !data.is_empty() && out.len() < BATCH {
            let room = MAX_PART - self.pending.len();
            let newline = data.iter().take(room + 1).position(|&byte| byte == b'\n');
            match newline {
                Some(end) => {
                    self.entry(time, 'F', &data[..end], out);
                    data = &data[end + 1..];
                }
                // The newline may be the very next byte to come: then the line is full, not cut.
                None if data.len() <= room => {
                    self.pending.extend_from_slice(data);
                    return &[];
                }
                None => {
                    self.entry(time, 'P', &data[..room], out);
                    data = &data[room..];
                }
            }
        }
        data
    }

    /// Appends what is held back as a part: the stream has ended without a newline.
    pub(crate) fn finish(&mut self, time: &str, out: &mut Vec<u8>) {
        if !self.pending.is_empty() {
            self.entry(time, 'P', &[], out);
        }
    }

    fn entry(&mut self, time: &str, tag: char, body: &[u8], out: &mut Vec<u8>) {
        for part in [
            time,
            " ",
            self.stream,
            if tag == 'F' { " F " } else { " P " },
        ] {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(&self.pending);
        out.extend_from_slice(body);
        out.push(b'\n');
        // Most lines come whole: memory for those that do not is given back.
        self.pending = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(chunks: &[&[u8]]) -> String {
        let mut lines = Lines::new("stdout");
        let mut out = Vec::new();
        for chunk in chunks {
            let mut rest = *chunk;
            while !rest.is_empty() {
                let mut part = Vec::new();
                rest = lines.push("T", rest, &mut part);
                out.append(&mut part);
            }
        }
        lines.finish("E", &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn whole_and_broken_lines() {
        for (chunks, expected) in [
            (&[&b"a\n"[..]][..], "T stdout F a\n"),
            (&[b"a\nb\n"], "T stdout F a\nT stdout F b\n"),
            (&[b"\n\n"], "T stdout F \nT stdout F \n"),
            (&[b"a", b"b\nc", b"\n"], "T stdout F ab\nT stdout F c\n"),
            (&[b"a\nno end"], "T stdout F a\nE stdout P no end\n"),
            (&[b""], ""),
            (&[b"a\r\n"], "T stdout F a\r\n"),
        ] {
            assert_eq!(run(chunks), expected, "{chunks:?}");
        }
    }

    #[test]
    fn long_lines_are_cut_at_the_limit() {
        let full = "x".repeat(MAX_PART);
        assert_eq!(
            run(&[format!("{full}\n").as_bytes()]),
            format!("T stdout F {full}\n")
        );
        assert_eq!(
            run(&[full.as_bytes(), b"\n"]),
            format!("T stdout F {full}\n")
        );
        assert_eq!(
            run(&[format!("{full}y\n").as_bytes()]),
            format!("T stdout P {full}\nT stdout F y\n")
        );
        assert_eq!(
            run(&[full.as_bytes(), full.as_bytes(), b"y"]),
            format!("T stdout P {full}\nT stdout P {full}\nE stdout P y\n")
        );
    }

    proptest! {
        #[test]
        fn nothing_is_lost_however_it_is_cut(
            text in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200),
            long in 0_usize..3 * MAX_PART,
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut data = text.clone();
            data.extend(std::iter::repeat_n(b'z', long));
            data.extend(&text);
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(data.len() + 1)).collect();
            cuts.extend([0, data.len()]);
            cuts.sort_unstable();
            let mut lines = Lines::new("stderr");
            let mut out = Vec::new();
            for pair in cuts.windows(2) {
                let mut rest = &data[pair[0]..pair[1]];
                while !rest.is_empty() {
                    let mut part = Vec::new();
                    rest = lines.push("T", rest, &mut part);
                    prop_assert!(part.len() < BATCH + MAX_PART + 64);
                    out.append(&mut part);
                }
            }
            lines.finish("T", &mut out);
            let mut back = Vec::new();
            for entry in out.split_inclusive(|&b| b == b'\n') {
                let entry = entry.strip_prefix(b"T stderr ").unwrap();
                let (tag, body) = entry.split_at(2);
                prop_assert!(body.len() <= MAX_PART + 1);
                back.extend_from_slice(if tag == b"F " { body } else { &body[..body.len() - 1] });
            }
            prop_assert_eq!(back, data);
        }
    }
}
