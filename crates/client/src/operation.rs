//! One operation on its way to a router: over the connection's [stream](crate::stream), or as a call of its own.
//!
//! Both ways mean the same to the cluster. The stream costs a fraction of a call on both ends once several operations are under
//! way, so it is taken where it stands; a call is made as long as it does not, by a lone operation, and with routers of earlier
//! versions, which know no stream.

use api::v1;
use api::v1::operation::Kind as Question;
use api::v1::operation_result::Kind as Answer;
use lanes::{NotSent, Outcome, Protocol};
use model::limits::MAX_ENTRY_BYTES;
use tonic::Code;

use crate::history::{Failure, Kind};
use crate::retry::{Attempt, repeat};
use crate::{Client, Error};

/// An operation of more than that goes by a call of its own.
const LARGE_BYTES: usize = MAX_ENTRY_BYTES;

/// `KeyValue.Operate`.
#[derive(Debug)]
pub(crate) enum Operate {}

impl Protocol for Operate {
    type Operation = v1::Operation;
    type Frame = v1::OperateRequest;
    type Result = v1::OperationResult;
    type Answer = Result<Answer, api::Error>;

    fn bytes(operation: &v1::Operation) -> usize {
        prost::Message::encoded_len(operation)
    }

    fn stamp(operation: &mut v1::Operation, correlation: u64, timeout_millis: u32) {
        operation.correlation = correlation;
        operation.timeout_millis = timeout_millis;
    }

    fn frame(operations: Vec<v1::Operation>, cancelled: Vec<u64>) -> v1::OperateRequest {
        v1::OperateRequest {
            operations,
            cancelled,
        }
    }

    fn correlation(result: &v1::OperationResult) -> u64 {
        result.correlation
    }

    fn answer(result: v1::OperationResult) -> Self::Answer {
        match result.kind {
            Some(Answer::Error(error)) => Err(error.into()),
            Some(answer) => Ok(answer),
            None => Err(api::Error::outcome_unknown(
                "the router sent a result that this version does not know",
            )),
        }
    }
}

impl Client {
    /// Has an operation carried out, and picks what came of it out of the answer.
    pub(crate) async fn operate<T>(
        &self,
        kind: Kind,
        question: Question,
        pick: impl FnOnce(Answer) -> Option<T>,
    ) -> Result<T, Error> {
        let timeout = self.data_timeout();
        let send = |attempt: Attempt| attempt.carry(question.clone());
        let answered = repeat(self.routers(), kind, timeout, send).await?;
        pick(answered.answer).ok_or_else(|| {
            let message = "the answer does not fit the question";
            malformed(kind, message, &self.routers().addresses())
        })
    }
}

/// The router has answered, but not like one.
pub(crate) fn malformed(kind: Kind, message: impl Into<String>, routers: &str) -> Error {
    let message = message.into();
    match kind {
        Kind::Read => Error::Foreign {
            router: routers.to_owned(),
            code: Code::Internal,
            message,
        },
        Kind::Write | Kind::Once => api::Error::outcome_unknown(message).into(),
    }
}

impl Attempt {
    /// Sends an operation and waits for its answer.
    async fn carry(self, question: Question) -> Result<Answer, Failure> {
        let Some(lane) = self.connection.lane(|| self.key_value()) else {
            return self.call(question).await;
        };
        let operation = v1::Operation {
            kind: Some(question.clone()),
            ..v1::Operation::default()
        };
        // It would hold the others up, and one that breaks the limit of messages would end the stream.
        if Operate::bytes(&operation) > LARGE_BYTES {
            return self.call(question).await;
        }
        let outcome = match lane.submit(operation, self.until) {
            Ok(waiting) => waiting.await,
            Err(refusal) => Outcome::NotSent(refusal),
        };
        match outcome {
            Outcome::Answer(answer) => answer.map_err(Failure::Service),
            Outcome::Lost => Err(Failure::Lost(format!(
                "{}: the stream has ended before the answer came",
                self.address
            ))),
            Outcome::NotSent(NotSent::TooLate) => Err(Failure::NotBegun(format!(
                "{}: the deadline passed before the request was sent",
                self.address
            ))),
            // The stream has ended, or has its fill.
            Outcome::NotSent(NotSent::Unreachable | NotSent::Overloaded) => {
                self.call(question).await
            }
        }
    }

    async fn call(self, question: Question) -> Result<Answer, Failure> {
        // It may have begun to go down since the connection was chosen.
        if self.connection.is_closed() {
            let cause = format!("{}: the connection is being closed", self.address);
            return Err(Failure::NotBegun(cause));
        }
        let mut stub = self.key_value();
        macro_rules! call {
            ($call:ident($message:ident) -> $answer:ident) => {
                stub.$call(self.request($message))
                    .await
                    .map(|answer| Answer::$answer(answer.into_inner()))
            };
        }
        let answer = match question {
            Question::Get(message) => call!(get(message) -> Get),
            Question::Put(message) => call!(put(message) -> Put),
            Question::Delete(message) => call!(delete(message) -> Delete),
            Question::TransactPut(message) => call!(transact_put(message) -> TransactPut),
            Question::TransactGet(message) => call!(transact_get(message) -> TransactGet),
        };
        answer.map_err(|status| Failure::of(&status, &self.address.to_string()))
    }
}
