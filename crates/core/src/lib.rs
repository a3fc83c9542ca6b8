//! pylae-core
