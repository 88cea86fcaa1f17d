pub mod brute;
pub mod random;
pub mod script;
