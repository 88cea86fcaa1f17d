//! The wire: what processes say to each other.
//!
//! * [`v1`] is the public gRPC package `minidynamo.v1`, [`internal`] what routers and data nodes speak.
//! * [`Error`] is the one error type that crosses a process boundary; its [`Reason`] decides the gRPC code,
//!   the exit code of the command line and what the caller has to do. There is exactly one mapping to
//!   and from a [`tonic::Status`], in [`error`].
//! * [`convert`] turns messages into the nouns of `model` and back, checking every limit on the way in.
//!
//! Protobuf is compiled in the build script by `protox`, so no `protoc` is needed.

pub mod convert;
pub mod deadline;
pub mod error;

pub use error::{Error, Reason};

/// The generated modules, nested as the protobuf packages are.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
mod minidynamo {
    pub mod v1 {
        tonic::include_proto!("minidynamo.v1");
    }
    pub mod internal {
        pub mod v1 {
            tonic::include_proto!("minidynamo.internal.v1");
        }
    }
}

pub use minidynamo::internal::v1 as internal;
pub use minidynamo::v1;

/// The encoded descriptors of the public package, for server reflection.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("descriptors");
