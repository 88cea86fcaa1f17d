//! Tables and the state of the cluster.

use api::v1;

use crate::history::Kind;
use crate::{Client, Error};

impl Client {
    /// Creates a table and returns it once it is available.
    pub async fn create_table(
        &self,
        name: &str,
        shards: u32,
        replicas: u32,
    ) -> Result<v1::TableDescription, Error> {
        let message = v1::CreateTableRequest {
            name: name.to_owned(),
            shards,
            replicas,
        };
        self.admin(Kind::Once, |attempt| {
            let request = attempt.request(message.clone());
            async move { attempt.tables().create_table(request).await }
        })
        .await
    }

    /// Deletes a table with all its data and returns once it is gone.
    ///
    /// [`api::Reason::TableNotReady`] means that the deadline passed first: the deletion is decided and
    /// goes on.
    pub async fn delete_table(&self, name: &str) -> Result<(), Error> {
        let message = v1::DeleteTableRequest {
            name: name.to_owned(),
        };
        let answer = self.admin(Kind::Once, |attempt| {
            let request = attempt.request(message.clone());
            async move { attempt.tables().delete_table(request).await }
        });
        answer.await.map(|_| ())
    }

    /// A table, its shards and where their replicas are.
    pub async fn describe_table(&self, name: &str) -> Result<v1::TableDescription, Error> {
        self.describe(name, false).await
    }

    /// The same, with the content hashes of all replicas compared. Reads all data of the table.
    pub async fn verify_table(&self, name: &str) -> Result<v1::TableDescription, Error> {
        self.describe(name, true).await
    }

    async fn describe(&self, name: &str, verify: bool) -> Result<v1::TableDescription, Error> {
        let message = v1::DescribeTableRequest {
            name: name.to_owned(),
            verify,
        };
        self.admin(Kind::Read, |attempt| {
            let request = attempt.request(message.clone());
            async move { attempt.tables().describe_table(request).await }
        })
        .await
    }

    /// All tables, in the order of their names. Pages are fetched as needed.
    pub async fn list_tables(&self) -> Result<Vec<v1::TableSummary>, Error> {
        let mut tables = Vec::new();
        let mut after = String::new();
        loop {
            let message = v1::ListTablesRequest { after, limit: 0 };
            let answer = self.admin(Kind::Read, |attempt| {
                let request = attempt.request(message.clone());
                async move { attempt.tables().list_tables(request).await }
            });
            let page = answer.await?;
            tables.extend(page.tables);
            // A page that does not lead on would be asked for forever.
            if page.next.is_empty() || page.next == message.after {
                return Ok(tables);
            }
            after = page.next;
        }
    }

    /// Routers, data nodes, and the shards that can't serve everything now.
    pub async fn status(&self) -> Result<v1::StatusResponse, Error> {
        self.admin(Kind::Read, |attempt| {
            let request = attempt.request(v1::StatusRequest {});
            async move { attempt.cluster().status(request).await }
        })
        .await
    }

    /// Every data node that is a member, and those that were forgotten and still have a place in a table.
    pub async fn list_nodes(&self) -> Result<Vec<v1::NodeDescription>, Error> {
        let answer = self.admin(Kind::Read, |attempt| {
            let request = attempt.request(v1::ListNodesRequest {});
            async move { attempt.cluster().list_nodes(request).await }
        });
        answer.await.map(|answer| answer.nodes)
    }

    /// Forgets a data node that will never return. Refused while it is alive.
    pub async fn forget_node(&self, node: &str) -> Result<v1::ForgetNodeResponse, Error> {
        let message = v1::ForgetNodeRequest {
            node: node.to_owned(),
        };
        self.admin(Kind::Once, |attempt| {
            let request = attempt.request(message.clone());
            async move { attempt.cluster().forget_node(request).await }
        })
        .await
    }

    /// The tables that data nodes have replicas of although they are neither listed nor deleted.
    pub async fn list_quarantined(&self) -> Result<v1::ListQuarantinedResponse, Error> {
        self.admin(Kind::Read, |attempt| {
            let request = attempt.request(v1::ListQuarantinedRequest {});
            async move { attempt.cluster().list_quarantined(request).await }
        })
        .await
    }

    /// Destroys the quarantined replicas of a table, on one node or all. There is no way back.
    pub async fn drop_quarantined(
        &self,
        table_id: &str,
        node: Option<&str>,
    ) -> Result<v1::DropQuarantinedResponse, Error> {
        let message = v1::DropQuarantinedRequest {
            table_id: table_id.to_owned(),
            node: node.unwrap_or_default().to_owned(),
        };
        self.admin(Kind::Once, |attempt| {
            let request = attempt.request(message.clone());
            async move { attempt.cluster().drop_quarantined(request).await }
        })
        .await
    }

    /// Lists a quarantined table again, under its own name or another one.
    pub async fn keep_quarantined(
        &self,
        table_id: &str,
        name: Option<&str>,
    ) -> Result<v1::TableDescription, Error> {
        let message = v1::KeepQuarantinedRequest {
            table_id: table_id.to_owned(),
            name: name.unwrap_or_default().to_owned(),
        };
        self.admin(Kind::Once, |attempt| {
            let request = attempt.request(message.clone());
            async move { attempt.cluster().keep_quarantined(request).await }
        })
        .await
    }
}
