//! A table of a Mini-DynamoDB cluster as a target.

use bytes::Bytes;
use client::{Client, Consistency, Error};

use crate::{Item, Target};

/// One table, seen through one client.
#[derive(Debug, Clone)]
pub struct Table {
    /// Who asks.
    pub client: Client,
    /// The table's name.
    pub name: String,
    /// Of single gets. Transactions always are serializable.
    pub consistency: Consistency,
}

impl Table {
    /// Items as the client library wants them.
    fn named(&self, items: Vec<Item>) -> impl Iterator<Item = (&str, Bytes, Bytes)> {
        let name = &*self.name;
        items
            .into_iter()
            .map(move |(key, value)| (name, key, value))
    }
}

impl Target for Table {
    type Error = Error;

    fn reason(error: &Error) -> String {
        match error {
            Error::Service(error) => error.reason.as_str().to_owned(),
            Error::Unreachable { .. } => "UNREACHABLE".to_owned(),
            Error::Unanswered { .. } => "UNANSWERED".to_owned(),
            _ => "OTHER".to_owned(),
        }
    }

    async fn get(&self, key: Bytes) -> Result<bool, Error> {
        let item = self.client.get(&self.name, key, self.consistency).await?;
        Ok(item.is_some())
    }

    async fn put(&self, (key, value): Item) -> Result<(), Error> {
        self.client.put(&self.name, key, value).await.map(|_| ())
    }

    async fn transact_get(&self, keys: Vec<Bytes>) -> Result<bool, Error> {
        let keys = keys.into_iter().map(|key| (&*self.name, key));
        let found = self.client.transact_get(keys).await?;
        Ok(found.iter().all(Option::is_some))
    }

    async fn transact_put(&self, items: Vec<Item>) -> Result<(), Error> {
        self.client.transact_put(self.named(items), None).await
    }

    async fn put_many(&self, items: Vec<Item>) -> Result<(), Error> {
        let results = self.client.batch_put(self.named(items)).await?;
        results
            .into_iter()
            .try_for_each(|result| result.map(|_| ()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::{Reason, ServiceError};

    #[test]
    fn errors_are_counted_by_their_reason() {
        let refused = Error::from(ServiceError::new(Reason::NoLeader, "x"));
        assert_eq!(Table::reason(&refused), "NO_LEADER");
        let foreign = Error::InvalidAddress {
            address: String::new(),
            why: String::new(),
        };
        assert_eq!(Table::reason(&foreign), "OTHER");
    }
}
