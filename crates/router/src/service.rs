//! The gRPC services: one file per verb, [`call`] for what all of them have in common.

pub(crate) mod batch_get;
pub(crate) mod batch_put;
pub(crate) mod call;
pub(crate) mod create_table;
pub(crate) mod delete;
pub(crate) mod delete_table;
pub(crate) mod describe_table;
pub(crate) mod drop_quarantined;
pub(crate) mod forget_node;
pub(crate) mod get;
mod ids;
pub(crate) mod keep_quarantined;
pub(crate) mod list_nodes;
pub(crate) mod list_quarantined;
pub(crate) mod list_tables;
mod operate;
mod progress;
pub(crate) mod put;
mod quarantined;
pub(crate) mod server;
pub(crate) mod status;
pub(crate) mod transact_get;
pub(crate) mod transact_put;
pub(crate) mod verify;

use std::sync::Arc;

use api::v1;
use api::{Error, Reason};
use tonic::{Request, Response, Status, Streaming};

use crate::state::State;

/// All three services. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Services(pub(crate) Arc<State>);

/// A data node's answer that does not belong to the question.
pub(crate) fn misfit(operation: &str) -> Error {
    Error::new(
        Reason::OutcomeUnknown,
        format!("the data node's answer does not fit a {operation}: read before you retry"),
    )
}

#[tonic::async_trait]
impl v1::key_value_server::KeyValue for Services {
    type OperateStream = operate::Results<Streaming<v1::OperateRequest>>;

    async fn operate(
        &self,
        request: Request<Streaming<v1::OperateRequest>>,
    ) -> Result<Response<Self::OperateStream>, Status> {
        let results = operate::Results::new(Arc::clone(&self.0), request.into_inner());
        Ok(Response::new(results))
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        call::data(request, |message, deadline| {
            get::get(&self.0, message, deadline)
        })
        .await
    }

    async fn put(
        &self,
        request: Request<v1::PutRequest>,
    ) -> Result<Response<v1::PutResponse>, Status> {
        call::data(request, |message, deadline| {
            put::put(&self.0, message, deadline)
        })
        .await
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        call::data(request, |message, deadline| {
            delete::delete(&self.0, message, deadline)
        })
        .await
    }

    async fn batch_get(
        &self,
        request: Request<v1::BatchGetRequest>,
    ) -> Result<Response<v1::BatchGetResponse>, Status> {
        call::data(request, |message, deadline| {
            batch_get::batch_get(&self.0, message, deadline)
        })
        .await
    }

    async fn batch_put(
        &self,
        request: Request<v1::BatchPutRequest>,
    ) -> Result<Response<v1::BatchPutResponse>, Status> {
        call::data(request, |message, deadline| {
            batch_put::batch_put(&self.0, message, deadline)
        })
        .await
    }

    async fn transact_put(
        &self,
        request: Request<v1::TransactPutRequest>,
    ) -> Result<Response<v1::TransactPutResponse>, Status> {
        call::data(request, |message, deadline| {
            transact_put::transact_put(&self.0, message, deadline)
        })
        .await
    }

    async fn transact_get(
        &self,
        request: Request<v1::TransactGetRequest>,
    ) -> Result<Response<v1::TransactGetResponse>, Status> {
        call::data(request, |message, deadline| {
            transact_get::transact_get(&self.0, message, deadline)
        })
        .await
    }
}

#[tonic::async_trait]
impl v1::tables_server::Tables for Services {
    async fn create_table(
        &self,
        request: Request<v1::CreateTableRequest>,
    ) -> Result<Response<v1::TableDescription>, Status> {
        call::admin(request, |message, deadline| {
            create_table::create_table(&self.0, message, deadline)
        })
        .await
    }

    async fn delete_table(
        &self,
        request: Request<v1::DeleteTableRequest>,
    ) -> Result<Response<v1::DeleteTableResponse>, Status> {
        call::admin(request, |message, deadline| {
            delete_table::delete_table(&self.0, message, deadline)
        })
        .await
    }

    async fn describe_table(
        &self,
        request: Request<v1::DescribeTableRequest>,
    ) -> Result<Response<v1::TableDescription>, Status> {
        call::admin(request, |message, deadline| {
            describe_table::describe_table(&self.0, message, deadline)
        })
        .await
    }

    async fn list_tables(
        &self,
        request: Request<v1::ListTablesRequest>,
    ) -> Result<Response<v1::ListTablesResponse>, Status> {
        call::admin(request, |message, deadline| {
            list_tables::list_tables(&self.0, message, deadline)
        })
        .await
    }
}

#[tonic::async_trait]
impl v1::cluster_server::Cluster for Services {
    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        call::admin(request, |message, deadline| {
            status::status(&self.0, message, deadline)
        })
        .await
    }

    async fn list_nodes(
        &self,
        request: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        call::admin(request, |message, deadline| {
            list_nodes::list_nodes(&self.0, message, deadline)
        })
        .await
    }

    async fn forget_node(
        &self,
        request: Request<v1::ForgetNodeRequest>,
    ) -> Result<Response<v1::ForgetNodeResponse>, Status> {
        call::admin(request, |message, deadline| {
            forget_node::forget_node(&self.0, message, deadline)
        })
        .await
    }

    async fn list_quarantined(
        &self,
        request: Request<v1::ListQuarantinedRequest>,
    ) -> Result<Response<v1::ListQuarantinedResponse>, Status> {
        call::admin(request, |message, deadline| {
            list_quarantined::list_quarantined(&self.0, message, deadline)
        })
        .await
    }

    async fn drop_quarantined(
        &self,
        request: Request<v1::DropQuarantinedRequest>,
    ) -> Result<Response<v1::DropQuarantinedResponse>, Status> {
        call::admin(request, |message, deadline| {
            drop_quarantined::drop_quarantined(&self.0, message, deadline)
        })
        .await
    }

    async fn keep_quarantined(
        &self,
        request: Request<v1::KeepQuarantinedRequest>,
    ) -> Result<Response<v1::TableDescription>, Status> {
        call::admin(request, |message, deadline| {
            keep_quarantined::keep_quarantined(&self.0, message, deadline)
        })
        .await
    }
}
