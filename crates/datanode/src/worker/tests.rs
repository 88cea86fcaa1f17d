//! Scripts for the worker.
