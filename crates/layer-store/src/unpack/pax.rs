//! Pax extended headers: `"<length> <keyword>=<value>\n"`, the length counting itself (POSIX
//! `pax`, "pax Extended Header").

use rustix::fs::Timespec;

use super::sparse::PaxSparse;

/// What the records of one header say.
#[derive(Debug, Default)]
pub(super) struct PaxRecords {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Timespec>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: PaxSparse,
}

pub(super) fn parse(data: &[u8]) -> Result<PaxRecords, String> {
    let mut records = PaxRecords::default();
    let mut rest = data;
    while !rest.is_empty() && rest[0] != 0 {
        let (keyword, value, after) =
            record(rest).ok_or_else(|| "a damaged pax record".to_owned())?;
        records.take(keyword, value)?;
        rest = after;
    }
    Ok(records)
}

fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(20).position(|byte| *byte == b' ')?;
    let length: usize = decimal(&data[..space])?.try_into().ok()?;
    let body = data.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    Some((&body[..equals], &body[equals + 1..], &data[length..]))
}

impl PaxRecords {
    fn take(&mut self, keyword: &[u8], value: &[u8]) -> Result<(), String> {
        let number = || {
            let text = String::from_utf8_lossy(keyword);
            decimal(value).ok_or_else(|| format!("pax {text} is not a number"))
        };
        match keyword {
            b"path" => self.path = Some(no_nul(value)?),
            b"linkpath" => self.link = Some(no_nul(value)?),
            b"size" => self.size = Some(number()?),
            b"uid" => self.uid = Some(number()?),
            b"gid" => self.gid = Some(number()?),
            b"mtime" => {
                let mtime = time(value).ok_or_else(|| "pax mtime is not a time".to_owned())?;
                self.mtime = Some(mtime);
            }
            _ => {
                if let Some(name) = keyword.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.push((no_nul(name)?, value.to_vec()));
                } else if let Some(name) = keyword.strip_prefix(b"GNU.sparse.") {
                    self.sparse.take(name, value)?;
                }
            }
        }
        Ok(())
    }
}

fn no_nul(value: &[u8]) -> Result<Vec<u8>, String> {
    if value.contains(&0) {
        return Err("a zero byte in a pax name".to_owned());
    }
    Ok(value.to_vec())
}

/// Plain decimal digits.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if !text.first()?.is_ascii_digit() {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds with a fraction of any length, negative before 1970.
fn time(text: &[u8]) -> Option<Timespec> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut tv_sec: i64 = seconds.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanoseconds: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let mut tv_nsec: i64 = nanoseconds.parse().ok()?;
    if seconds.starts_with('-') && tv_nsec > 0 {
        tv_sec -= 1;
        tv_nsec = 1_000_000_000 - tv_nsec;
    }
    Some(Timespec { tv_sec, tv_nsec })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_to_the_byte() {
        let record = |keyword: &str, value: &[u8]| {
            let rest = [b" ", keyword.as_bytes(), b"=", value, b"\n"].concat();
            let length = (1..).find(|n: &usize| n.to_string().len() + rest.len() == *n);
            [length.unwrap().to_string().as_bytes(), &rest].concat()
        };
        let data = [
            record("size", b"900"),
            record("mtime", b"1350244992.0239601"),
            record("SCHILY.xattr.user.a", b"x=\n\x00y\nz"),
        ]
        .concat();
        let records = parse(&data).unwrap();
        assert_eq!(records.size, Some(900));
        let mtime = records.mtime.unwrap();
        assert_eq!((mtime.tv_sec, mtime.tv_nsec), (1_350_244_992, 23_960_100));
        assert_eq!(
            records.xattrs,
            [(b"user.a".to_vec(), b"x=\n\x00y\nz".to_vec())]
        );
        for bad in [
            "5 a=b",
            "x",
            "99 a=b\n",
            "4 a\n",
            "0 a=b\n",
            "13 size=-900\n",
            "7 uid=\n",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn times_before_1970_count_down() {
        let time = |text: &str| time(text.as_bytes()).map(|t| (t.tv_sec, t.tv_nsec));
        assert_eq!(time("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time("-1"), Some((-1, 0)));
        assert_eq!(time("0.1234567891"), Some((0, 123_456_789)));
        assert_eq!(time("1.x"), None);
        assert_eq!(time(""), None);
    }
}
