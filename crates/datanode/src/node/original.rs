//! Asks whether the process that is recorded as this node still runs. It may do so without any session.

use std::sync::Arc;
use std::time::Duration;

use api::internal::DescribeRequest;
use coordination::records::{LiveNodeRecord, MemberRecord};
use coordination::registry;
use environment::Network;
use links::{Timing, client_of, connect};
use tokio::time::timeout;

/// For the answer of one that is well. A machine that has gone does not answer at all, and its directory may have moved here.
const PATIENCE: Duration = Duration::from_secs(2);

/// The other process of this node, if one answers where the record says. Whatever else may be there by now is none.
pub(super) async fn other_process(
    network: &Arc<dyn Network>,
    recorded: &MemberRecord,
    own: &LiveNodeRecord,
) -> Option<registry::Error> {
    // This process listens there, so nobody else does.
    if recorded.address == own.address {
        return None;
    }
    let ask = async {
        let channel = connect(network, &recorded.address, &Timing::default())
            .await
            .ok()?;
        let request = DescribeRequest {
            table: 0,
            totals_only: true,
            undecided_after_millis: 0,
        };
        let answer = client_of(channel).describe(request).await.ok()?;
        Some(answer.into_inner())
    };
    let answer = timeout(PATIENCE, ask).await.ok()??;
    let other = answer.node == own.id.0 && answer.incarnation != own.incarnation;
    other.then_some(registry::Error::NodeAlive {
        node: own.id,
        host: answer.host,
        data_dir: answer.data_dir,
    })
}
