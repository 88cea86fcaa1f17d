//! datanode

pub mod machine;
