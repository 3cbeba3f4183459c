//! What a layer may unpack to.

/// Bounds on one layer, against archives made to fill a disk or a memory. The defaults are far
/// above what images of the field hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the uncompressed tar: 64 GiB.
    pub unpacked_bytes: u64,
    /// How many times larger than its blob the tar may be, once it is over
    /// [`Limits::RATIO_FREE_BYTES`]: 250. Deflate itself ends at 1032; disk images with large holes
    /// stay below 100.
    pub ratio: u64,
    /// Entries of the tar: 4 Mi.
    pub entries: u64,
    /// Bytes of one PAX or GNU long name header: 1 MiB. It is held in memory.
    pub header_bytes: u64,
}

impl Limits {
    /// Tars up to this size, 1 GiB, may have any ratio.
    pub const RATIO_FREE_BYTES: u64 = 1 << 30;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            unpacked_bytes: 64 << 30,
            ratio: 250,
            entries: 4 << 20,
            header_bytes: 1 << 20,
        }
    }
}
