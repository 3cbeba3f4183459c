//! The Stream… calls: a list in parts, so that no message is larger than clients take.

use tonic::Status;

/// Entries of one message. A container with its labels and annotations is about 2 kB.
const CHUNK: usize = 500;

/// The messages of one call.
pub(crate) type Chunks<T> = tokio_stream::Iter<std::vec::IntoIter<Result<T, Status>>>;

/// Cuts a list into messages; an empty one has none.
pub(crate) fn chunks<I, T>(items: Vec<I>, message: fn(Vec<I>) -> T) -> Chunks<T> {
    let mut items = items.into_iter();
    let mut messages = Vec::with_capacity(items.len().div_ceil(CHUNK));
    while items.len() > 0 {
        messages.push(Ok(message(items.by_ref().take(CHUNK).collect())));
    }
    tokio_stream::iter(messages)
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn every_item_comes_once_and_in_order() {
        for (count, messages) in [(0, 0), (1, 1), (500, 1), (501, 2), (1400, 3)] {
            let items: Vec<usize> = (0..count).collect();
            let chunks: Vec<_> = chunks(items.clone(), |chunk| chunk).collect().await;
            assert_eq!(chunks.len(), messages, "{count}");
            let all: Vec<usize> = chunks.into_iter().flat_map(Result::unwrap).collect();
            assert_eq!(all, items);
        }
    }
}
