//! Asking data nodes what they hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::internal::{DescribeRequest, DescribeResponse};
use futures::future::join_all;
use model::{NodeId, TableId};
use tokio::time::timeout;

use crate::state::State;

/// What each node said, or why it did not.
pub(crate) type Answers = BTreeMap<NodeId, Result<DescribeResponse, String>>;

impl State {
    /// Asks all these nodes at once, about one table or all.
    pub(crate) async fn survey(&self, nodes: BTreeSet<NodeId>, table: Option<TableId>) -> Answers {
        let patience = self.options.timing.describe_timeout;
        self.survey_within(nodes, table, patience).await
    }

    /// The same for somebody who has not much time.
    pub(crate) async fn survey_within(
        &self,
        nodes: BTreeSet<NodeId>,
        table: Option<TableId>,
        patience: Duration,
    ) -> Answers {
        let questions = nodes.into_iter().map(|node| async move {
            let answer = timeout(patience, self.describe_node(node, table, false)).await;
            let answer = answer.unwrap_or_else(|_| Err("it does not answer in time".to_owned()));
            (node, answer)
        });
        join_all(questions).await.into_iter().collect()
    }

    /// Asks one node.
    pub(crate) async fn describe_node(
        &self,
        node: NodeId,
        table: Option<TableId>,
        totals_only: bool,
    ) -> Result<DescribeResponse, String> {
        let request = DescribeRequest {
            table: table.map_or(0, |table| table.0),
            totals_only,
        };
        let timeout = self.options.timing.describe_timeout;
        let ask = async |mut client: links::Client| client.describe(request).await;
        let answer = self.nodes.call(node, timeout, ask).await;
        let answer = answer.map_err(|status| status.message().to_owned())?;
        if answer.node != node.0 {
            return Err(format!(
                "at its address another data node answers, {}",
                NodeId(answer.node)
            ));
        }
        Ok(answer)
    }
}
