//! Maps of files with holes: GNU's old header and its three pax forms (GNU tar manual, "Storing
//! Sparse Files").

use super::pax::decimal;

/// A piece of content and where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Where the content of a file with holes goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SparseMap {
    pub(crate) regions: Vec<Region>,
    /// Length of the file, holes included.
    pub(crate) real_size: u64,
}

impl SparseMap {
    /// Regions must follow one another, lie within the file, and be filled by `content` bytes.
    pub(super) fn check(&self, content: u64) -> Result<(), String> {
        let mut end = 0_u64;
        let mut sum = 0_u64;
        for region in &self.regions {
            if region.offset < end {
                return Err("a sparse map that overlaps itself".to_owned());
            }
            end = region.offset.saturating_add(region.length);
            sum = sum.saturating_add(region.length);
        }
        if end > self.real_size || self.real_size > i64::MAX.cast_unsigned() || sum != content {
            return Err("a sparse map that does not fit its file".to_owned());
        }
        Ok(())
    }
}

/// The `GNU.sparse.*` records of a pax header.
#[derive(Debug, Default)]
pub(super) struct PaxSparse {
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    major: Option<u64>,
    numbers: Vec<u64>,
    is_sparse: bool,
}

impl PaxSparse {
    pub(super) fn take(&mut self, keyword: &[u8], value: &[u8]) -> Result<(), String> {
        let number = || decimal(value).ok_or_else(|| "a damaged sparse record".to_owned());
        self.is_sparse = true;
        match keyword {
            b"name" => self.name = Some(value.to_vec()),
            b"realsize" | b"size" => self.real_size = Some(number()?),
            b"major" => self.major = Some(number()?),
            b"offset" | b"numbytes" => self.numbers.push(number()?),
            b"map" => {
                for part in value
                    .split(|byte| *byte == b',')
                    .filter(|part| !part.is_empty())
                {
                    let number = decimal(part);
                    self.numbers
                        .push(number.ok_or_else(|| "a damaged sparse map".to_owned())?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The map is in the content.
    pub(super) fn is_version_1(&self) -> bool {
        self.major == Some(1)
    }

    /// The map of versions 0.0 and 0.1, if there is one.
    pub(super) fn map(&self) -> Result<Option<SparseMap>, String> {
        if !self.is_sparse {
            return Ok(None);
        }
        let real_size = self
            .real_size
            .ok_or_else(|| "a sparse file without a size".to_owned())?;
        pairs(&self.numbers, real_size).map(Some)
    }
}

fn pairs(numbers: &[u64], real_size: u64) -> Result<SparseMap, String> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("an odd sparse map".to_owned());
    }
    let regions = pairs.iter().map(|[offset, length]| Region {
        offset: *offset,
        length: *length,
    });
    Ok(SparseMap {
        regions: regions.collect(),
        real_size,
    })
}

/// Version 1.0: decimal numbers, one a line: how many regions, then offset and length of each.
/// The number of lines, once the first is there.
pub(super) fn lines_needed(text: &[u8]) -> Result<Option<u64>, String> {
    let Some(end) = text.iter().position(|byte| *byte == b'\n') else {
        return Ok(None);
    };
    let count = decimal(&text[..end]).ok_or_else(|| "a damaged sparse map".to_owned())?;
    Ok(Some(count.saturating_mul(2).saturating_add(1)))
}

/// Reads a map of version 1.0 that is complete.
pub(super) fn version_1(text: &[u8], real_size: Option<u64>) -> Result<SparseMap, String> {
    let needed = lines_needed(text)?.unwrap_or_default();
    let needed = usize::try_from(needed).unwrap_or(usize::MAX);
    let lines = text.split(|byte| *byte == b'\n').take(needed).skip(1);
    let numbers: Option<Vec<u64>> = lines.map(decimal).collect();
    let numbers = numbers.ok_or_else(|| "a damaged sparse map".to_owned())?;
    let real_size = real_size.ok_or_else(|| "a sparse file without a size".to_owned())?;
    pairs(&numbers, real_size)
}

/// GNU's old format: the first regions are in the header. Says whether more blocks follow.
pub(super) fn old_gnu(header: &tar::Header) -> Result<(SparseMap, bool), String> {
    let gnu = header
        .as_gnu()
        .ok_or_else(|| "a sparse file in a header that is not GNU's".to_owned())?;
    let real_size = gnu.real_size().map_err(|error| error.to_string())?;
    let mut map = SparseMap {
        regions: Vec::new(),
        real_size,
    };
    add(&mut map, &gnu.sparse)?;
    Ok((map, gnu.is_extended()))
}

/// Adds the regions of a further block. Says whether yet more follow.
pub(super) fn extend(map: &mut SparseMap, block: &[u8; 512]) -> Result<bool, String> {
    let mut header = tar::GnuExtSparseHeader::new();
    header.as_mut_bytes().copy_from_slice(block);
    add(map, header.sparse())?;
    Ok(header.is_extended())
}

fn add(map: &mut SparseMap, regions: &[tar::GnuSparseHeader]) -> Result<(), String> {
    for region in regions.iter().filter(|region| !region.is_empty()) {
        let offset = region.offset().map_err(|error| error.to_string())?;
        let length = region.length().map_err(|error| error.to_string())?;
        map.regions.push(Region { offset, length });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_is_text() {
        let text = b"2\n0\n10\n1024\n5\n\0\0\0";
        assert_eq!(lines_needed(b"2"), Ok(None));
        assert_eq!(lines_needed(text), Ok(Some(5)));
        let map = version_1(text, Some(2000)).unwrap();
        assert_eq!(map.regions.len(), 2);
        assert_eq!(map.check(15), Ok(()));
        assert!(map.check(16).is_err());
        for bad in ["x\n", "99999999999999999999\n", "1\n5\nx\n", "1\n5\n"] {
            assert!(version_1(bad.as_bytes(), Some(1)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn maps_that_lie_are_refused() {
        for (numbers, real_size, content) in [
            (vec![0, 10, 5, 10], 100, 20),
            (vec![0, 200], 100, 200),
            (vec![u64::MAX, 10], 100, 10),
            (vec![0, 1], u64::MAX, 1),
        ] {
            let map = pairs(&numbers, real_size).unwrap();
            assert!(map.check(content).is_err(), "{numbers:?}");
        }
        assert!(pairs(&[1], 1).is_err());
    }
}
