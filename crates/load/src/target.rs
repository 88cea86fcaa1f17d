//! What is put under load.

use std::future::Future;

use bytes::Bytes;

/// A key and its value.
pub type Item = (Bytes, Bytes);

/// A store of values under keys. Clones share its connections.
pub trait Target: Clone + Send + Sync + 'static {
    /// Why an operation failed.
    type Error: Send + 'static;

    /// The reason of an error, in one word, for counting.
    fn reason(error: &Self::Error) -> String;

    /// Reads one key, and says whether something was there.
    fn get(&self, key: Bytes) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Writes one item.
    fn put(&self, item: Item) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Reads several keys as they were at one moment, and says whether all of them were there.
    fn transact_get(
        &self,
        keys: Vec<Bytes>,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Writes several items, all of them or none.
    fn transact_put(
        &self,
        items: Vec<Item>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Writes several items in whatever way is fast. Nothing of it is measured.
    fn put_many(&self, items: Vec<Item>) -> impl Future<Output = Result<(), Self::Error>> + Send;
}
