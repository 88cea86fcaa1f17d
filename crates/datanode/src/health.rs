//! Whether a node can be used, and why not.

/// What a node says of itself to load balancers and operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// It is registered and holds what it should.
    pub ready: bool,
    /// One line: what it waits for, or what is wrong although it serves. Empty when all is well.
    pub reason: String,
}

impl Health {
    /// Not usable yet.
    pub fn waiting(reason: impl Into<String>) -> Self {
        Self {
            ready: false,
            reason: reason.into(),
        }
    }

    /// Usable, with a remark or none.
    pub fn ready(reason: impl Into<String>) -> Self {
        Self {
            ready: true,
            reason: reason.into(),
        }
    }
}
