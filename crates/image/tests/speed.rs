//! How long a large pull takes; for a release build, run by hand:
//! `cargo test --release -p pinpod-image --test speed -- --ignored --nocapture`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::Instant;

use support::{Layout, Node, Registry, tar};

/// Text-like content: it compresses to about a third, as programs do.
fn content(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut content = Vec::with_capacity(length + 64);
    while content.len() < length {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let random = state >> 8;
        if random.is_multiple_of(3) {
            content.extend_from_slice(&random.to_le_bytes()[..3]);
        } else {
            let back = content.len().saturating_sub(random as usize % 4000 + 16);
            let end = (back + 12).min(content.len());
            content.extend_from_within(back..end);
            content.push(b'x');
        }
    }
    content.truncate(length);
    content
}

/// What this process has used, in user and system mode: it tells more than the clock on a machine
/// that others use too. 100 ticks a second are fixed for this file.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "moves 450 MB; for a release build"]
async fn pull_450_megabytes_in_five_layers() {
    let layers: Vec<Vec<u8>> = (0..5_u32)
        .map(|n| {
            let files: Vec<(String, Vec<u8>)> = (0..900_u32)
                .map(|m| {
                    (
                        format!("l{n}/d{}/f{m}", m % 40),
                        content(n * 1000 + m, 100_000),
                    )
                })
                .collect();
            let files: Vec<_> = files
                .iter()
                .map(|(name, data)| (name.as_str(), &data[..]))
                .collect();
            tar(&files)
        })
        .collect();
    let bytes: usize = layers.iter().map(Vec::len).sum();
    let layout = Layout::new("large", &layers);
    drop(layers);
    let registry = Registry::start();
    let reference = registry.push(&layout, "large:1");
    for round in 0..3 {
        let node = Node::new();
        let (start, cpu) = (Instant::now(), cpu_seconds());
        node.images.pull(&reference, None).await.unwrap();
        let took = start.elapsed();
        let cpu = cpu_seconds() - cpu;
        println!("round {round}: {bytes} bytes of tar in {took:?}, {cpu:.2} s of processors");
        drop(node.reopen());
    }
}
