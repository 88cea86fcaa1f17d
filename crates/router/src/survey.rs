//! Asking data nodes what they hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::internal::{DescribeRequest, DescribeResponse};
use futures::future::join_all;
use model::{NodeId, TableId, TransactionId, Undecided};
use tokio::time::timeout;
use tracing::{debug, warn};

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

    /// Asks all these nodes for the transactions that they have held prepared for so long.
    pub(crate) async fn survey_undecided(
        &self,
        nodes: BTreeSet<NodeId>,
        after: Duration,
    ) -> BTreeMap<TransactionId, Undecided> {
        let request = DescribeRequest {
            totals_only: true,
            undecided_after_millis: u32::try_from(after.as_millis().max(1)).unwrap_or(u32::MAX),
            ..DescribeRequest::default()
        };
        let questions = nodes
            .into_iter()
            .map(|node| async move { (node, self.ask_node(node, request).await) });
        let mut found = BTreeMap::new();
        for (node, answer) in join_all(questions).await {
            let told = match answer {
                Ok(answer) => answer.undecided,
                Err(reason) => {
                    debug!(%node, %reason, "a data node does not tell what is undecided");
                    continue;
                }
            };
            for undecided in told {
                match Undecided::try_from(undecided) {
                    Ok(undecided) => drop(found.insert(undecided.transaction, undecided)),
                    Err(error) => warn!(%node, %error, "an undecided transaction can't be read"),
                }
            }
        }
        found
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
            undecided_after_millis: 0,
        };
        self.ask_node(node, request).await
    }

    async fn ask_node(
        &self,
        node: NodeId,
        request: DescribeRequest,
    ) -> Result<DescribeResponse, String> {
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
